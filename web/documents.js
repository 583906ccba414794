// From a pasted text to documents.

// A text a line.
export const lines = text => text.split("\n").map(line => line.trim()).filter(line => line);

// Passages of about so many words, cut between paragraphs, or else between sentences.
export function passages(text, words) {
  const found = [];
  let open = "", length = 0;
  const close = () => {
    if (open.trim()) found.push(open.trim());
    [open, length] = ["", 0];
  };
  for (const paragraph of text.split(/\n\s*\n/)) {
    const all = wordsOf(paragraph);
    const parts = all > 1.5 * words ? sentences(paragraph) : [paragraph];
    for (const [i, part] of parts.entries()) {
      const own = parts.length === 1 ? all : wordsOf(part);
      if (length && length + own > words) close();
      open += i === 0 && open ? "\n\n" + part : part;
      length += own;
    }
  }
  close();
  return found;
}

// In writing without spaces two characters count as a word.
function wordsOf(text) {
  const dense = text.match(/[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]/g)?.length ?? 0;
  return dense / 2 + (text.replace(/[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]+/g, " ").match(/\S+/g)?.length ?? 0);
}

function sentences(text) {
  if (!Intl.Segmenter) return text.match(/[^.!?。！？]+[.!?。！？]*\s*/g) ?? [text];
  return Array.from(new Intl.Segmenter("en", { granularity: "sentence" }).segment(text), part => part.segment);
}
