// Faults of the page that is open, as a reader would meet them. `tests/din_report/browser.py` calls one function at a time.
({
  // Text that contrasts with what is painted behind it by less than 4.5 to 1. Pictures behind text are not considered.
  contrast() {
    const channels = (color) => {
      const [red, green, blue, alpha = 1] = color.match(/[\d.]+/g).map(Number);
      return { rgb: [red, green, blue], alpha };
    };
    const over = (top, under) => top.rgb.map((value, at) => value * top.alpha + under[at] * (1 - top.alpha));
    const backdrop = (element) =>
      this.lineage(element).reduce((under, one) => over(channels(getComputedStyle(one).backgroundColor), under), [255, 255, 255]);
    const luminance = (rgb) => {
      const [red, green, blue] = rgb
        .map((value) => value / 255)
        .map((value) => (value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4));
      return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
    };
    return this.texts().flatMap(({ element, text }) => {
      const style = getComputedStyle(element);
      const behind = backdrop(element);
      const ink = channels(element.closest("svg") ? style.fill : style.color);
      const painted = over({ ...ink, alpha: ink.alpha * this.opacity(element) }, behind);
      const [dark, light] = [luminance(painted), luminance(behind)].sort((one, other) => one - other);
      const ratio = (light + 0.05) / (dark + 0.05);
      return ratio < 4.5 ? [`${text}: ${ratio.toFixed(2)}`] : [];
    });
  },

  // Text that is drawn smaller than 11 pixels; a picture shrinks the text in it.
  small() {
    return this.texts().flatMap(({ element, text }) => {
      const scale = element.getScreenCTM ? element.getScreenCTM().a || element.getScreenCTM().b : 1;
      const size = parseFloat(getComputedStyle(element).fontSize) * Math.abs(scale);
      return size < 10.95 ? [`${text}: ${size.toFixed(1)} px`] : [];
    });
  },

  // Labels of one picture that lie on each other.
  overlaps() {
    return [...document.querySelectorAll("svg.plot")].flatMap((picture) => {
      const labels = [...picture.querySelectorAll("text")].map((label) => ({ text: label.textContent, box: label.getBoundingClientRect() }));
      const whole = picture.getBoundingClientRect();
      const meet = (one, other) =>
        one.left < other.right - 1 && other.left < one.right - 1 && one.top < other.bottom - 3 && other.top < one.bottom - 3;
      const cut = labels.filter(({ box }) => box.left < whole.left - 1 || box.right > whole.right + 1);
      const pairs = labels.flatMap((one, at) => labels.slice(at + 1).filter((other) => meet(one.box, other.box)).map((other) => [one, other]));
      return [...cut.map(({ text }) => `${text} is cut`), ...pairs.map(([one, other]) => `${one.text} on ${other.text}`)];
    });
  },

  // A page that is wider than its window.
  sideways() {
    const { scrollWidth, clientWidth } = document.scrollingElement;
    return scrollWidth > clientWidth ? [`${scrollWidth} px in ${clientWidth}`] : [];
  },

  // Elements that a screen reader announces wrongly: landmarks, levels of headings, headers of tables.
  structure() {
    const once = ["h1", "main", "header", "footer", "nav"].filter((tag) => document.querySelectorAll(tag).length !== 1);
    const levels = [...document.querySelectorAll("h1, h2, h3, h4")].map((heading) => Number(heading.tagName[1]));
    const leaps = levels.filter((level, at) => level > (at ? levels[at - 1] : 0) + 1);
    const unscoped = [...document.querySelectorAll("th:not([scope])")].map((cell) => cell.textContent);
    return [...once.map((tag) => `not one ${tag}`), ...leaps.map((level) => `a leap to h${level}`), ...unscoped];
  },

  // On paper: a verdict that is not seen, and tables and pictures that the edge cuts.
  cut() {
    const verdict = [...document.querySelectorAll("h1, header p")].filter((one) => !one.checkVisibility() || !one.getBoundingClientRect().height);
    const wide = [...document.querySelectorAll("table, svg, pre")].filter((one) => {
      const { right } = one.getBoundingClientRect();
      return right > innerWidth + 1 || (one.tagName === "PRE" && one.scrollWidth > one.clientWidth);
    });
    const scrolled = [...document.querySelectorAll(".scroll")].filter((one) => one.scrollWidth > one.clientWidth + 1);
    return [...new Set([...verdict, ...wide, ...scrolled])].map((one) => `${one.tagName}: ${one.textContent.trim().slice(0, 40)}`);
  },

  // The elements that a keyboard must reach, numbered.
  stops() {
    const every = document.querySelectorAll("a[href], summary, button, input, select, textarea, [tabindex='0']");
    const seen = [...every].filter((one) => one.checkVisibility());
    seen.forEach((one, at) => one.setAttribute("data-stop", at));
    return seen.map((one) => (one.getAttribute("aria-label") || one.textContent).trim());
  },

  // The element that has the focus: its number, and whether a reader can see that it has it.
  focus() {
    const one = document.activeElement;
    const { outlineStyle, outlineWidth } = getComputedStyle(one);
    const { top, bottom, left, right } = one.getBoundingClientRect();
    const inside = bottom > 0 && top < innerHeight && right > 0 && left < innerWidth;
    return { stop: Number(one.dataset.stop ?? -1), visible: inside && outlineStyle !== "none" && parseFloat(outlineWidth) >= 2 };
  },

  // An element after everything that it is in.
  lineage(element) {
    return element ? [...this.lineage(element.parentElement), element] : [];
  },

  opacity(element) {
    return this.lineage(element).reduce((all, one) => all * getComputedStyle(one).opacity, 1);
  },

  // Every visible text with the element that it is in; a text that only screen readers get is clipped or lies outside.
  texts() {
    const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    const found = [];
    while (walker.nextNode()) {
      const element = walker.currentNode.parentElement;
      const range = document.createRange();
      range.selectNodeContents(walker.currentNode);
      const { width, height, right } = range.getBoundingClientRect();
      const text = walker.currentNode.textContent.trim();
      const drawn = element.checkVisibility({ visibilityProperty: true }) && getComputedStyle(element).clipPath === "none" && this.opacity(element) > 0;
      if (text && width && height && right > 0 && drawn && element.tagName !== "title") found.push({ element, text: text.slice(0, 40) });
    }
    return found;
  },
})
