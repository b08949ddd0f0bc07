"use strict";
const all = (what, root) => Array.from((root || document).querySelectorAll(what));
const opacity = document.getElementById("opacity");
if (opacity) {
  opacity.addEventListener("input", () => all(".fill").forEach((image) => { image.style.opacity = opacity.value; }));
}
all("input[data-layer]").forEach((box) => box.addEventListener("change", () =>
  all("." + box.dataset.layer).forEach((image) => { image.style.visibility = box.checked ? "visible" : "hidden"; })));
all("pre[data-copy]").forEach((block) => {
  const button = document.createElement("button");
  button.type = "button";
  button.textContent = "Copy";
  button.addEventListener("click", async () => {
    const text = block.querySelector("code").textContent;
    try {
      await navigator.clipboard.writeText(text);
      button.textContent = "Copied";
    } catch (wrong) {
      const range = document.createRange();
      range.selectNodeContents(block.querySelector("code"));
      window.getSelection().removeAllRanges();
      window.getSelection().addRange(range);
      button.textContent = "Selected: press Ctrl-C";
    }
    setTimeout(() => { button.textContent = "Copy"; }, 1600);
  });
  block.append(button);
});
