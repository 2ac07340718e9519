"use strict";
// Both sides play all the time, started together on one clock; a switch turns one up and the other down, so that
// there is no gap and no jump. Everything runs on buffers inside this page.
const data = JSON.parse(document.getElementById("data").textContent);
const SIDES = ["before", "after"], FADE_S = 0.008, SKIP_S = 2, LEAD_S = 0.02;
const find = selector => document.querySelector(selector);
const state = {side: "after", matched: false, at: 0, began: 0, context: null, playing: null, buffers: null};

function bytes(base64) {
  return Uint8Array.from(atob(base64), character => character.charCodeAt(0)).buffer;
}

async function load() {
  const decoder = new OfflineAudioContext(1, 1, data.sample_rate);
  const buffers = await Promise.all(SIDES.map(side => decoder.decodeAudioData(bytes(data[side].sound))));
  return Object.fromEntries(SIDES.map((side, k) => [side, buffers[k]]));
}

// The two sides as sources that start together at `when`, `from` seconds into the recording.
function graph(context, buffers, side, matched, when, from, loop) {
  const parts = {};
  for (const name of SIDES) {
    const source = new AudioBufferSourceNode(context, {buffer: buffers[name], loop});
    const gain = new GainNode(context, {gain: level(name, side, matched)});
    source.connect(gain).connect(context.destination);
    source.start(when, from);
    parts[name] = {source, gain};
  }
  return parts;
}

function level(name, side, matched) {
  return name === side ? (matched ? data[name].matched_gain : 1) : 0;
}

function turn(parts, side, matched, when) {
  for (const name of SIDES) {
    const gain = parts[name].gain.gain;
    gain.cancelScheduledValues(when);
    gain.setValueAtTime(gain.value, when);
    gain.linearRampToValueAtTime(level(name, side, matched), when + FADE_S);
  }
}

function duration() { return state.buffers ? state.buffers.before.duration : data.duration_s; }

function position() {
  if (!state.playing) return state.at;
  const at = state.at + Math.max(0, state.context.currentTime - state.began);
  return find("#loop").checked ? at % duration() : Math.min(at, duration());
}

function play() {
  state.context ??= new AudioContext();
  state.context.resume();
  if (state.at >= duration()) state.at = 0;
  state.began = state.context.currentTime + LEAD_S;
  const loop = find("#loop").checked;
  const parts = graph(state.context, state.buffers, state.side, state.matched, state.began, state.at, loop);
  parts.before.source.onended = () => { if (state.playing === parts) { state.at = duration(); stop(); show(); } };
  state.playing = parts;
  requestAnimationFrame(follow);
}

function stop() {
  const parts = state.playing;
  state.playing = null;
  if (parts) for (const name of SIDES) parts[name].source.stop();
}

function pause() { state.at = position(); stop(); }

function seek(seconds) {
  const going = state.playing;
  stop();
  state.at = Math.min(Math.max(0, seconds), duration());
  if (going) play();
  show();
}

function choose(side, matched = state.matched) {
  state.side = side;
  state.matched = matched;
  if (state.playing) turn(state.playing, side, matched, state.context.currentTime);
  show();
}

function clock(seconds) {
  const unit = 10 ** data.decimals, parts = Math.floor(seconds * unit + 1e-6), whole = Math.floor(parts / unit);
  const rest = String(whole % 60).padStart(2, "0"), part = String(parts % unit).padStart(data.decimals, "0");
  return `${Math.floor(whole / 60)}:${rest}.${part}`;
}

function show() {
  const at = position();
  find("#clock").textContent = `${clock(at)} / ${clock(data.duration_s)}`;
  document.querySelectorAll(".head").forEach(head => { head.style.left = `${100 * at / data.duration_s}%`; });
  document.querySelectorAll(".sides button").forEach(button =>
    button.setAttribute("aria-pressed", String(button.dataset.side === state.side)));
  document.querySelectorAll(".lane[data-side]").forEach(lane =>
    lane.classList.toggle("heard", lane.dataset.side === state.side));
  find("#play").classList.toggle("playing", Boolean(state.playing));
  find("#play .word").textContent = state.playing ? "Pause" : "Play";
  find("#match").checked = state.matched;
}

function follow() {
  show();
  if (state.playing) requestAnimationFrame(follow);
}

function toggle() {
  if (!state.buffers) return;
  if (state.playing) pause(); else play();
  show();
}

const other = () => SIDES[1 - SIDES.indexOf(state.side)];
find("#play").addEventListener("click", toggle);
document.querySelectorAll(".sides button").forEach(button =>
  button.addEventListener("click", () => choose(button.dataset.side)));
find("#match").addEventListener("change", event => choose(state.side, event.target.checked));
find("#loop").addEventListener("change", event => {
  event.target.checked = !event.target.checked;  // where we are was counted with the old one
  const at = position();
  event.target.checked = !event.target.checked;
  seek(at);
});
document.querySelectorAll(".picture").forEach(picture => picture.addEventListener("click", event => {
  const box = picture.getBoundingClientRect();
  seek((event.clientX - box.left) / box.width * data.duration_s);
}));
document.addEventListener("keydown", event => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const onButton = event.target.closest("button, input");
  const key = event.key.toLowerCase();
  if (key === " " && !onButton) toggle();
  else if (key === "x") choose(other());
  else if (key === "m" && !find("#match").disabled) choose(state.side, !state.matched);
  else if (key === "arrowleft") seek(position() - SKIP_S);
  else if (key === "arrowright") seek(position() + SKIP_S);
  else return;
  event.preventDefault();
});
const loaded = load().then(buffers => {
  state.buffers = buffers;
  find("#play").disabled = false;
}).catch(error => {
  find("#problem").hidden = false;
  find("#problem").textContent = `This browser cannot decode the sound in this page (${error.message}).`;
});
show();
