"""Requests for contracts: details, search by name, market rules."""

from __future__ import annotations

from ibapi.protobuf.CancelContractData_pb2 import CancelContractData
from ibapi.protobuf.Contract_pb2 import Contract
from ibapi.protobuf.ContractData_pb2 import ContractData
from ibapi.protobuf.ContractDataEnd_pb2 import ContractDataEnd
from ibapi.protobuf.ContractDataRequest_pb2 import ContractDataRequest
from ibapi.protobuf.ContractDescription_pb2 import ContractDescription
from ibapi.protobuf.MarketRuleRequest_pb2 import MarketRuleRequest
from ibapi.protobuf.MatchingSymbolsRequest_pb2 import MatchingSymbolsRequest
from ibapi.protobuf.SymbolSamples_pb2 import SymbolSamples

from quant.tws.client import NO_REQUEST, Client
from quant.tws.exchange.listing import contract, details, market_rule
from quant.tws.exchange.refusal import Refusal, invalid
from quant.tws.program import Tws


def contract_data(tws: Tws, client: Client, request: ContractDataRequest, now: int) -> None:
    """Answer reqContractDetails."""
    found = tws.catalogue.find(request.contract, now)
    if isinstance(found, Refusal):
        client.error(request.reqId, found, now)
        return
    for listing in found:
        client.say(
            ContractData(
                reqId=request.reqId, contract=contract(listing, request.contract.exchange),
                contractDetails=details(listing, now),
            )
        )  # fmt: skip
    client.say(ContractDataEnd(reqId=request.reqId))


def cancel_contract_data(tws: Tws, client: Client, request: CancelContractData, now: int) -> None:
    """Answer cancelContractData: what was asked is answered already."""
    client.error(request.reqId, Refusal(300, f"Can't find EId with tickerId:{request.reqId}"), now)


def matching_symbols(tws: Tws, client: Client, request: MatchingSymbolsRequest, now: int) -> None:
    """Answer reqMatchingSymbols."""
    rows = [
        ContractDescription(
            contract=Contract(
                conId=x.con_id, symbol=x.symbol, secType=x.sec_type, primaryExch=x.exchange, currency=x.currency,
                description=x.described, issuerId="",
            )
        )
        for x in tws.catalogue.search(request.pattern)
    ]  # fmt: skip
    client.say(SymbolSamples(reqId=request.reqId, contractDescriptions=rows))


def rule(tws: Tws, client: Client, request: MarketRuleRequest, now: int) -> None:
    """Answer reqMarketRule."""
    found = tws.catalogue.rule(request.marketRuleId)
    if found is None:
        client.error(NO_REQUEST, invalid(f"Invalid market rule id {request.marketRuleId}"), now)
    else:
        client.say(market_rule(found))
