// What the dashboard shows of a state: tiles, curves, alarms and the table of peers.

import {
  Chart, bits, bytes, el, find, none, pill, rate, say, seconds, share, toneOf,
} from "/draw.js";

const ALARMS = {
  direct: "sends its own messages without a mixnet: NO ANONYMITY",
  tracing: "writes every packet down: NO ANONYMITY",
  blending: "its loop cover stays away although links are up: packets are held back, or the network is overloaded",
  disk: "cannot write its state; is the disk full?",
  clock: "its clock differs from the others' by more than five seconds",
  identity: "another daemon runs with its keys",
  model: "the code of the run's task makes another model on some host: see peerctl events",
  paths: "sends nothing: too few peers are alive for a path",
};

const ago = (x) => (x ? (x <= -120 ? `${Math.round(x / 60)} min` : `${Math.round(x)} s`) : "now");
const overTime = { x: ago, head: (x) => (x ? `${seconds(-x)} ago` : "Now") };
const accuracy = new Chart(find("accuracy-chart"), {
  title: "Accuracy by round", x: (round) => `${round}`, head: (round) => `Round ${round}`,
  y: (value) => share(value), whole: true, limits: { floor: 0, ceiling: 1 }, empty: "No closed round yet",
});
const rtt = new Chart(find("rtt-chart"), {
  ...overTime, title: "Round trip of a message", y: seconds, limits: { low: 0 }, empty: "No message has come home yet",
});
const entropy = new Chart(find("entropy-chart"), {
  ...overTime, title: "Entropy of departures", y: (value) => `${+value.toFixed(2)} bits`, limits: { floor: 0 },
  empty: "No packet has departed yet",
});

const last = (list) => list.at(-1);
const values = (peers, key) => peers.map((peer) => peer[key]).filter((value) => value !== null && value !== undefined);
const sum = (list) => list.reduce((total, value) => total + value, 0);

function middle(list) {
  const sorted = [...list].sort((a, b) => a - b);
  if (!sorted.length) return null;
  const half = Math.floor(sorted.length / 2);
  return sorted.length % 2 ? sorted[half] : (sorted[half - 1] + sorted[half]) / 2;
}

function head(state, here) {
  const names = state.networks.join(", ");
  document.title = names ? `${names} – peerctl dashboard` : "peerctl dashboard";
  say("network", names ? `Network ${names}` : "peerctl dashboard");
  const versions = [...new Set(values(here, "version"))].join(", ");
  say("about", `${here.length} of ${state.peers.length} peers answer${versions ? `, version ${versions}` : ""}`);
}

function alarms(state, here) {
  const raised = here.flatMap((peer) => peer.alarms.map((name) => [peer.name, ALARMS[name] ?? `alarm ${name}`]));
  for (const peer of here) if (peer.run_error) raised.push([peer.name, `its run has failed: ${peer.run_error}`]);
  if (state.networks.length > 1) raised.push(["networks", "these peers are of different networks"]);
  const place = find("alarms");
  const text = JSON.stringify(raised);
  place.hidden = !raised.length;
  if (place.dataset.raised === text) return; // a screen reader hears each once
  place.dataset.raised = text;
  place.replaceChildren(...raised.map(([name, what]) => el("li", {}, el("strong", {}, name), what)));
}

function runTiles({ run, accuracy: curve }) {
  const states = run ? Object.entries(run.states) : [];
  find("run-state").replaceChildren(run ? pill(run.state, toneOf(run.state)) : "none");
  const ended = run?.ended_by && run.ended_by !== "rounds" ? `, ended by ${run.ended_by}` : "";
  const mixed = states.length > 1 ? states.map(([state, n]) => `${n} ${state}`).join(", ") : run?.run_id.slice(0, 8);
  say("run-note", run ? `${run.task}, ${mixed}${ended}` : "start one below");
  say("round", run ? `${run.round} / ${run.rounds}` : none);
  const closed = run ? Math.min(run.closed / Math.max(run.rounds, 1), 1) : 0;
  find("round-bar").style.width = `${100 * closed}%`;
  const took = middle(curve.slice(-5).map((round) => round.seconds?.[1]).filter((value) => value > 0));
  say("round-note", took ? `${seconds(took)} a round` : "");
  const newest = curve.findLast((round) => round.aggregated);
  say("accuracy", newest ? share(newest.aggregated[1]) : none);
  const own = newest?.local ? `own models ${share(newest.local[0])} to ${share(newest.local[2])}` : "";
  say("accuracy-note", own);
}

function networkTiles(here) {
  say("rtt", seconds(middle(values(here, "rtt_p50_seconds"))));
  const slow = middle(values(here, "rtt_p95_seconds"));
  say("rtt-note", slow ? `95 % within ${seconds(slow)}` : "");
  const known = values(here, "entropy_bits");
  say("entropy", bits(middle(known)));
  say("entropy-note", known.length ? `of a departure; least ${bits(Math.min(...known))}` : "");
  const rates = values(here, "bytes_per_second");
  say("traffic", rates.length ? rate(sum(rates)) : none);
  const lost = sum(values(here, "gave_up"));
  say("traffic-note", lost ? `${lost} messages given up` : "sent by all peers; none given up");
}

function curves({ accuracy: curve, history }) {
  accuracy.show(curve.length ? [
    line("aggregated", "", curve, (round) => round.round, (round) => round.aggregated),
    line("own models", "second", curve, (round) => round.round, (round) => round.local),
  ] : []);
  const end = last(history)?.ago ?? 0;
  const when = (point) => end - point.ago;
  rtt.show(history.some((point) => point.rtt_p50 !== null) ? [
    { name: "median", tone: "", points: history.map((point) => [when(point), point.rtt_p50]) },
    { name: "95 %", tone: "second", points: history.map((point) => [when(point), point.rtt_p95]) },
  ] : []);
  entropy.show(history.some((point) => point.entropy) ? [
    line("median of the peers", "", history, when, (point) => point.entropy),
  ] : []);
}

/** The median as a line, least to most as a band. */
function line(name, tone, list, x, spread) {
  return {
    name, tone,
    points: list.map((one) => [x(one), spread(one)?.[1] ?? null]),
    band: list.map((one) => [x(one), spread(one)?.[0] ?? null, spread(one)?.[2] ?? null]),
  };
}

function row(peer) {
  const title = el("th", { scope: "row" }, peer.name);
  if (peer.error) {
    const since = peer.known ? `last heard ${seconds(peer.heard_seconds_ago)} ago` : "never heard";
    const wide = el("td", { colspan: "10", class: "wide" }, el("span", { class: "error" }, peer.error), ` (${since})`);
    return el("tr", { class: "lost" }, title, el("td", { class: "state" }, pill("no answer", "bad")), wide);
  }
  if (!peer.known) return el("tr", {}, title, el("td", { class: "state" }, pill("asking")), el("td", { colspan: "10" }));
  const cell = (label, text) => el("td", { class: "number", "data-label": label }, text);
  const running = peer.run_state === "running" && peer.stage !== "idle";
  const state = peer.run_state ? (running ? peer.stage : peer.run_state) : "idle";
  const marks = [pill(state, toneOf(running ? peer.stage : peer.run_state))];
  if (peer.draining) marks.push(pill("leaving", "warn"));
  if (peer.alarms.length) marks.push(pill("alarm", "bad"));
  const mixing = peer.hops ? `${peer.strategy}, ${peer.hops} ${peer.hops === 1 ? "hop" : "hops"}` : "direct: NO ANONYMITY";
  return el("tr", {},
    title,
    el("td", { class: "state" }, ...marks),
    cell("Round", peer.round ? `${peer.round}` : none),
    cell("Accuracy", share(peer.accuracy)),
    cell("Round trip", seconds(peer.rtt_p50_seconds)),
    cell("Entropy", bits(peer.entropy_bits)),
    el("td", { class: "wide", "data-label": "Mixing" }, mixing),
    cell("Others alive", `${peer.peers_alive} of ${peer.peers_enrolled}`),
    cell("Sent", rate(peer.bytes_per_second)),
    cell("CPU", share(peer.cpu_share, 0)),
    cell("Memory", bytes(peer.rss_bytes)),
    cell("Up", seconds(peer.uptime_seconds)));
}

export function show(state) {
  const here = state.peers.filter((peer) => peer.known && !peer.error);
  head(state, here);
  alarms(state, here);
  runTiles(state);
  networkTiles(here);
  curves(state);
  find("peers").replaceChildren(...state.peers.map(row));
}
