"use strict";
// The page of a parity day is complete without scripts; here only the theme is switched, and paper is light.

const dark = matchMedia("(prefers-color-scheme: dark)"), root = document.documentElement;
const button = document.getElementById("theme");

function theme(name) {
  root.dataset.theme = name;
  button.textContent = name === "dark" ? "Light" : "Dark";
}

button.addEventListener("click", () => theme(root.dataset.theme === "dark" ? "light" : "dark"));
dark.addEventListener("change", () => theme(dark.matches ? "dark" : "light"));
let screenTheme = "light";
addEventListener("beforeprint", () => {
  screenTheme = root.dataset.theme;
  theme("light");
});
addEventListener("afterprint", () => theme(screenTheme));
theme(dark.matches ? "dark" : "light");
root.dataset.ready = "yes";
