// The switch of languages keeps what is shown.

export function keepStateInLanguageLinks() {
  document.querySelector(".language-switch").addEventListener("click", ({ target }) => {
    const link = target.closest("a");
    if (link) link.hash = location.hash;
  });
}
