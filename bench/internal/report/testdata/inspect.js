// What the test in a browser asks of the page.

// charts describes every chart, and which of its texts touch each other or stick out.
function charts() {
  return [...document.querySelectorAll("figure svg")].map((svg) => {
    const box = svg.getBoundingClientRect();
    const texts = [...svg.querySelectorAll("text")].map((t) => ({ text: t.textContent, r: t.getBoundingClientRect() }));
    const overlaps = [], outside = [];
    texts.forEach((a, i) => {
      if (a.r.left < box.left - 1 || a.r.right > box.right + 1 || a.r.top < box.top - 1 || a.r.bottom > box.bottom + 1) {
        outside.push(a.text);
      }
      for (const b of texts.slice(i + 1)) {
        const w = Math.min(a.r.right, b.r.right) - Math.max(a.r.left, b.r.left);
        const h = Math.min(a.r.bottom, b.r.bottom) - Math.max(a.r.top, b.r.top);
        if (w > 0.5 && h > 2) overlaps.push(a.text + " and " + b.text);
      }
    });
    return { ID: svg.id, Title: svg.querySelector("title").textContent, Desc: svg.querySelector("desc").textContent,
      Width: box.width, Height: box.height, Paths: svg.querySelectorAll("path").length, Overlaps: overlaps, Outside: outside };
  });
}

// tables returns the text of every table.
function tables() {
  const text = (cell) => [...cell.childNodes].map((n) => n.textContent.trim()).filter((s) => s !== "").join("\n");
  return [...document.querySelectorAll("table")].map((t) => ({ Label: t.getAttribute("aria-label"),
    Rows: [...t.rows].map((row) => [...row.cells].map(text)) }));
}

function channels(color) { return color.match(/[\d.]+/g).map(Number); }

// lightness is the relative luminance of WCAG.
function lightness(color) {
  const [r, g, b] = channels(color).slice(0, 3).map((v) => {
    v /= 255;
    return v <= 0.04045 ? v / 12.92 : Math.pow((v + 0.055) / 1.055, 2.4);
  });
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
}

function contrast(a, b) {
  const [x, y] = [lightness(a), lightness(b)].sort((p, q) => q - p);
  return (x + 0.05) / (y + 0.05);
}

// background is the colour behind an element.
function background(e) {
  for (; e; e = e.parentElement) {
    const c = getComputedStyle(e).backgroundColor, v = channels(c);
    if (v.length < 4 || v[3] > 0) return c;
  }
  return "rgb(255, 255, 255)";
}

// faint names what has too little contrast: 4.5 for text, 3 for the lines of servers.
function faint() {
  const found = new Set();
  const look = (e, color, least) => {
    const c = contrast(color, background(e));
    if (c < least) found.add((e.className.baseVal ?? e.className) + " " + e.tagName + " " + e.textContent.slice(0, 30) + " " + c.toFixed(2));
  };
  for (const e of document.querySelectorAll("p, li, a, th, td, dt, dd, code, h1, h2, h3, summary, .under")) look(e, getComputedStyle(e).color, 4.5);
  for (const e of document.querySelectorAll("figure text")) look(e, getComputedStyle(e).fill, 4.5);
  for (const e of document.querySelectorAll("figure path")) {
    const s = getComputedStyle(e);
    if (s.stroke !== "none" && parseFloat(s.strokeWidth) >= 1.5) look(e, s.stroke, 3);
  }
  return [...found];
}

// brokenLinks names links within the page that lead nowhere.
function brokenLinks() {
  return [...document.querySelectorAll("a[href^='#']")].map((a) => a.getAttribute("href")).filter((h) => !document.getElementById(h.slice(1)));
}
