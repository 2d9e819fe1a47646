/* Paper has nothing to press and is white: before a page is printed its answers open and its theme is the light one,
   and after it all is as it was. The code of plots and tables (tagged hide-input) stays folded. */
"use strict";
(() => {
  const root = document.documentElement;
  let opened = [];
  let theme = null;
  addEventListener("beforeprint", () => {
    if (theme !== null) return;
    theme = root.dataset.theme;
    root.dataset.theme = "light";
    opened = [...document.querySelectorAll(".bd-article details:not([open])")].filter(
      (fold) => !fold.closest(".tag_hide-input"),
    );
    for (const fold of opened) fold.open = true;
  });
  addEventListener("afterprint", () => {
    if (theme === null) return;
    root.dataset.theme = theme;
    for (const fold of opened) fold.open = false;
    opened = [];
    theme = null;
  });
})();
