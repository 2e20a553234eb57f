import pytest
from hypothesis import given
from hypothesis import strategies as st

from quant.errors import ConfigError, ParameterError
from quant.store.folder import check_source, data_folder, quote

# https://learn.microsoft.com/windows/win32/fileio/naming-a-file: these and names that end in a dot or a space.
WINDOWS_FORBIDS = set('<>:"/\\|?*') | {chr(i) for i in range(32)}


def test_a_given_folder_wins(tmp_path):
    (tmp_path / "quant.toml").write_text('[project]\ndata = "other"\n')
    assert data_folder("here", tmp_path).as_posix() == "here"


def test_the_nearest_quant_toml_names_the_folder_from_its_own_place(tmp_path):
    (tmp_path / "quant.toml").write_text('[project]\ndata = "bars and more"\n')
    inner = tmp_path / "a" / "b"
    inner.mkdir(parents=True)
    assert data_folder(start=inner) == tmp_path / "bars and more"


def test_quant_local_toml_wins(tmp_path):
    (tmp_path / "quant.toml").write_text('[project]\ndata = "other"\n')
    (tmp_path / "quant.local.toml").write_text('[project]\ndata = "mine"\n')
    assert data_folder(start=tmp_path) == tmp_path / "mine"
    (tmp_path / "quant.local.toml").write_text("[backtest]\ncash = 1\n")
    assert data_folder(start=tmp_path) == tmp_path / "other"


def test_quant_toml_without_the_setting_means_data(tmp_path):
    (tmp_path / "quant.toml").write_text("")
    assert data_folder(start=tmp_path) == tmp_path / "data"


def test_without_quant_toml_it_is_data_below_the_current_folder(tmp_path):
    assert data_folder(start=tmp_path) == tmp_path / "data"


@pytest.mark.parametrize(
    "text", ["[project\n", "[project]\ndata = 3\n", 'project = "x"\n', "[project]\ndata = ''\n"]
)
def test_a_broken_quant_toml_is_named(tmp_path, text):
    (tmp_path / "quant.toml").write_text(text)
    with pytest.raises(ConfigError, match=r"quant\.toml: project\.data"):
        data_folder(start=tmp_path)


@given(st.text(min_size=1))
def test_a_quoted_name_is_valid_on_windows(name):
    quoted = quote(name)
    assert not set(quoted) & WINDOWS_FORBIDS
    assert quoted.isascii()
    assert quoted[-1] not in ". "


@given(st.text(max_size=5), st.text(max_size=5))
def test_two_names_never_meet_even_where_case_is_ignored(a, b):
    assert (quote(a).casefold() == quote(b).casefold()) == (a == b)


@pytest.mark.parametrize("letter", "abcdefghijklmnopqrstuvwxyz")
def test_small_and_capital_letters_never_meet(letter):
    assert quote(letter).casefold() != quote(letter.upper()).casefold()


@pytest.mark.parametrize("name", ["CON", "PRN", "AUX", "NUL", "COM1", "LPT9"])
def test_windows_device_names_are_quoted(name):
    assert quote(name) != name
    assert quote(name + "X") == name + "X"


def test_quoting_as_documented():
    assert quote("SPY") == "SPY"
    assert quote("BRK.B") == "BRK%2EB"
    assert quote("BRK B") == "BRK%20B"
    assert quote("spy") == "%73%70%79"


@pytest.mark.parametrize("source", ["", "IB", "a/b", "..", "con", "a b"])
def test_a_source_is_a_plain_word(source):
    with pytest.raises(ParameterError, match="source"):
        check_source(source)
