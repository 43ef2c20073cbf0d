// ---------------------------------------------------------------- texts of the compiler, coloured lightly

/** One expression of several, each named by the class that its matches get; the first that matches counts. */
const language = (kinds) =>
  new RegExp(
    Object.entries(kinds)
      .map(([kind, found]) => `(?<${kind}>${found.source})`)
      .join("|"),
    "gm",
  );

const LANGUAGES = {
  graph: language({
    comment: /#.*/,
    name: /%[\w.$/-]+/,
    keyword: /\b(?:graph|state|return|update|kernel)\b/,
    type: /\b(?:[fiu]\d+|bool)\[[^\]]*\]/,
    operation: /\b\w+(?=[<(])/,
    number: /\b-?\d[\d.e+-]*\b/,
  }),
  loops: language({
    keyword: /\b(?:kernel|writes|for|in|if|barrier|scratch|let|sum|max|min|prod)\b/,
    special: /\b(?:parallel|vector|unroll|grain)\b/,
    type: /\b(?:[fiu]\d+|bool)(?=\[)/,
    name: /\b[a-z]+\d+(?=\[)/,
    operation: /\b[a-z_]\w*(?=\()/,
    number: /\b\d[\d.e+-]*\b/,
  }),
  llvm: language({
    comment: /;.*/,
    name: /[%@][\w.$"-]+/,
    label: /^[\w.$-]+:/,
    keyword: /\b(?:define|declare|ret|br|switch|unreachable|label|phi|target|source_filename)\b/,
    special: /\bcall\b/,
    type: /\b(?:i\d+|float|double|ptr|void)\b/,
    operation: new RegExp(
      "\\b(?:load|store|getelementptr|f?(?:add|sub|mul|div|neg|cmp)|[is](?:cmp|div|rem)|select|bitcast|alloca" +
        "|(?:insert|extract)element|shufflevector|[sz]ext|f?p?trunc|[su]itofp|fpto[su]i|and|x?or|shl|[al]shr)\\b",
    ),
    number: /\b(?:0x[\dA-F]+|-?\d[\d.e+-]*)\b/,
  }),
  assembly: language({
    comment: /#.*/,
    label: /^[\w.$"-]+:/,
    keyword: /^\s*\.\w+.*/,
    operation: /(?<=^\s*)v?fn?m(?:add|sub)\w+/,
    special: /(?<=^\s*)[a-z]\w*/,
    name: /%[a-z]\w*|\b[xyz]mm\d+/,
    number: /\$?-?\b(?:0x[\da-f]+|\d+)\b/,
  }),
};
const BLOCK = 150; // lines that are coloured at a time, when they come into sight

/** A text with its name, its number of lines and a button that copies it. */
function codeBlock(title, text, language) {
  if (!text) return h("section.code", h("div.bar", h("h3", title)), h("p.empty", "There is none."));
  const lines = text.replace(/\n$/, "").split("\n");
  const pre = h("pre", { tabindex: "0", "aria-label": title });
  const later = new IntersectionObserver(
    (entries) => {
      for (const { target, isIntersecting } of entries) {
        if (!isIntersecting) continue;
        later.unobserve(target);
        target.replaceChildren(...coloured(target.textContent, language));
      }
    },
    { rootMargin: "300px" },
  );
  for (let i = 0; i < lines.length; i += BLOCK) {
    const block = h(
      "code",
      { style: { "contain-intrinsic-height": `auto ${Math.min(BLOCK, lines.length - i) * 18}px` } },
      `${lines.slice(i, i + BLOCK).join("\n")}\n`,
    );
    pre.append(block);
    later.observe(block);
  }
  return h(
    "section.code",
    h("div.bar", h("h3", title), h("span.muted", plural(lines.length, "line")), h("span.push"), copyButton(text)),
    pre,
  );
}

/** Text nodes and spans for a text. */
function coloured(text, language) {
  const result = [];
  let at = 0;
  for (const match of text.matchAll(LANGUAGES[language])) {
    const [kind] = Object.entries(match.groups).find(([, found]) => found !== undefined);
    if (match.index > at) result.push(text.slice(at, match.index));
    result.push(h("span", { class: kind }, match[0]));
    at = match.index + match[0].length;
  }
  result.push(text.slice(at));
  return result;
}

function copyButton(text) {
  const button = h(
    "button",
    {
      type: "button",
      click: async () => {
        try {
          await navigator.clipboard.writeText(text);
        } catch {
          copyBySelection(text);
        }
        button.textContent = "Copied";
        setTimeout(() => {
          button.textContent = "Copy";
        }, 1500);
      },
    },
    "Copy",
  );
  return button;
}

/** For browsers that keep the clipboard from pages in files. */
function copyBySelection(text) {
  const area = h("textarea.unseen");
  area.value = text;
  document.body.append(area);
  area.select();
  document.execCommand("copy");
  area.remove();
}
