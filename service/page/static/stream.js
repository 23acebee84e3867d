// Server-sent events, as they come in.

/**
 * @param {ReadableStream<Uint8Array>} body
 * @returns {AsyncGenerator<{kind: "comment"|"data", text: string}>}
 */
export async function* events(body) {
  let rest = "";
  for await (const chunk of chunks(body)) {
    const lines = (rest + chunk).split(/\r?\n/);
    rest = lines.pop();
    for (const line of lines) {
      if (line.startsWith("data:")) yield { kind: "data", text: line.slice(5).trim() };
      else if (line.startsWith(":")) yield { kind: "comment", text: line.slice(1).trim() };
    }
  }
}

/** Text as it comes in; when the reader leaves early, the request is cancelled. */
async function* chunks(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      yield value;
    }
  } finally {
    await reader.cancel().catch(() => {});
  }
}
