"use strict";
// Plays the WAV stream of /tts while it arrives: every piece of 16-bit samples is queued behind the one before.
const form = document.getElementById("speak"), state = document.getElementById("state");
const stop = document.getElementById("stop"), again = document.getElementById("again");
const HEADER = 44;
let current = null;

function say(text, failed = false) {
  state.textContent = text;
  state.classList.toggle("failed", failed);
}

// Queues pieces of any length, odd ones too.
class Player {
  constructor() {
    this.context = new AudioContext();
    this.end = 0;
    this.seconds = 0;
    this.rest = new Uint8Array(0);
    this.rate = 0;
  }
  add(piece) {
    const bytes = new Uint8Array(this.rest.length + piece.length);
    bytes.set(this.rest);
    bytes.set(piece, this.rest.length);
    let begin = 0;
    if (!this.rate) {
      if (bytes.length < HEADER) { this.rest = bytes; return; }
      this.rate = new DataView(bytes.buffer).getUint32(24, true);
      begin = HEADER;
    }
    const count = (bytes.length - begin) >> 1;
    this.rest = bytes.slice(begin + 2 * count);
    if (!count) return;
    const view = new DataView(bytes.buffer, begin), buffer = this.context.createBuffer(1, count, this.rate);
    const samples = buffer.getChannelData(0);
    for (let i = 0; i < count; ++i) samples[i] = view.getInt16(2 * i, true) / 32768;
    const source = this.context.createBufferSource();
    source.buffer = buffer;
    source.connect(this.context.destination);
    this.end = Math.max(this.end, this.context.currentTime + 0.05);
    source.start(this.end);
    this.end += buffer.duration;
    this.seconds += buffer.duration;
  }
  close() { return this.context.close(); }
}

// A stream cannot know its length; a player that seeks wants it in the header.
function finished(pieces) {
  const size = pieces.reduce((sum, piece) => sum + piece.length, 0), whole = new Uint8Array(size);
  let at = 0;
  for (const piece of pieces) { whole.set(piece, at); at += piece.length; }
  const view = new DataView(whole.buffer);
  view.setUint32(4, size - 8, true);
  view.setUint32(40, size - HEADER, true);
  return new Blob([whole], { type: "audio/wav" });
}

async function reason(response) {
  try {
    const { detail } = await response.json();
    return typeof detail === "string" ? detail : JSON.stringify(detail);
  } catch { return `the server answered with ${response.status}`; }
}

async function speak(fields, abort) {
  const player = new Player(), pieces = [], began = performance.now();
  let first = 0;
  abort.signal.addEventListener("abort", () => player.close());
  const response = await fetch("tts", { method: "POST", body: fields, signal: abort.signal });
  if (!response.ok) throw new Error(await reason(response));
  const reader = response.body.getReader();
  for (let read = await reader.read(); !read.done; read = await reader.read()) {
    pieces.push(read.value);
    player.add(read.value);
    if (!first && player.seconds) first = performance.now() - began;
    say(`${player.seconds.toFixed(1)} s, first sound after ${Math.round(first)} ms`);
  }
  URL.revokeObjectURL(again.src);
  again.src = URL.createObjectURL(finished(pieces));
  again.hidden = false;
}

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  current?.abort();
  const abort = current = new AbortController(), fields = new FormData(form);
  const file = fields.get("voice_wav");
  if (file && file.size) fields.delete("voice_url");
  else fields.delete("voice_wav");
  if (!fields.get("voice_url")) fields.delete("voice_url");
  stop.disabled = false;
  again.hidden = true;
  say("...");
  try {
    await speak(fields, abort);
  } catch (error) {
    if (!abort.signal.aborted) say(error.message, true);
  }
  if (current === abort) stop.disabled = true;
});

stop.addEventListener("click", () => {
  current?.abort();
  say("stopped");
});
