// The status page of one peer: asks for /status.json every other second, and keeps the last minutes of rates.

import { Chart, bits, bytes, count, el, find, none, pill, rate, say, seconds, share, toneOf } from "/draw.js";

const EVERY = 2000;
const COARSE = "once a minute; `[metrics] detail = \"full\"` or `peerctl top` shows more";
const KEPT = 300;
const ALARMS = {
  direct: "own messages are sent without a mixnet: NO ANONYMITY",
  tracing: "every packet is written down: NO ANONYMITY",
  blending: "loop cover stays away although links are up: packets are held back, or the network is overloaded",
  disk: "state cannot be written; is the disk full?",
  clock: "the clock differs from the others' by more than five seconds",
  identity: "another daemon runs with this peer's keys",
  model: "the code of the run's task makes another model on some host: see peerctl events",
  paths: "too few peers are alive for a path: own messages wait",
};

const history = [];
const accuracy = new Chart(find("accuracy-chart"), {
  title: "Accuracy by round", x: (round) => `${round}`, head: (round) => `Round ${round}`,
  y: (value) => share(value), whole: true, limits: { floor: 0, ceiling: 1 }, empty: "No closed round yet",
});
const traffic = new Chart(find("traffic-chart"), {
  title: "Bytes on links", x: (ago) => (ago ? `${Math.round(ago)} s` : "now"), y: (value) => rate(value),
  head: (ago) => (ago ? `${Math.round(-ago)} s ago` : "Now"), limits: { low: 0 }, binary: true, empty: "Two samples are needed",
});

function facts(id, pairs) {
  const rows = pairs.map(([term, value]) => [el("dt", {}, term), el("dd", {}, value)]).flat();
  find(id).replaceChildren(...rows);
}

function live(state, text) {
  find("live").dataset.state = state;
  say("live", text);
}

function remember(now, state) {
  const last = history.at(-1);
  if (last && state.uptime_seconds < last.uptime) history.length = 0; // another life of the daemon
  if (last && state.uptime_seconds === last.uptime) return;
  history.push({
    now, uptime: state.uptime_seconds, sent: state.traffic.bytes_sent, received: state.traffic.bytes_received,
  });
  if (history.length > KEPT) history.shift();
}

function rates(key) {
  const end = history.at(-1)?.uptime ?? 0;
  return history.slice(1).map((point, place) => {
    const before = history[place];
    const perSecond = (point[key] - before[key]) / Math.max(point.uptime - before.uptime, 0.1);
    return [point.uptime - end, Math.max(perSecond, 0)];
  });
}

function tiles(state) {
  const { run, mixing } = state;
  find("run-state").replaceChildren(run ? pill(run.state, toneOf(run.state)) : "none");
  const progress = run ? [run.task, run.stage].filter(Boolean).join(", ") : "waits for a run";
  say("run-note", run?.ended_by && run.ended_by !== "rounds" ? `${run.task}, ended by ${run.ended_by}` : progress);
  say("round", run ? `${run.round} / ${run.rounds}` : none);
  find("round-bar").style.width = run ? `${(100 * run.curve.length) / Math.max(run.rounds, 1)}%` : "0";
  const last = run?.curve.findLast((point) => point.accuracy !== null);
  say("accuracy", last ? share(last.accuracy) : none);
  say("accuracy-note", last?.accuracy_local != null ? `own model ${share(last.accuracy_local)}` : "");
  const others = Object.entries(state.peers).filter(([name]) => name !== "revoked");
  say("peers", `${state.peers.alive ?? 0} of ${others.reduce((sum, [, n]) => sum + n, 0)}`);
  say("links", `links: ${state.links_out} out, ${state.links_in} in`);
  say("rtt", seconds(state.traffic.rtt_p50_seconds));
  say("rtt-note", state.traffic.rtt_p95_seconds ? `95 % within ${seconds(state.traffic.rtt_p95_seconds)}` : "");
  say("entropy", bits(mixing.entropy_bits));
  say("hidden", mixing.hidden_bits === null
    ? "no anonymity" : `sender hidden: ${mixing.hidden_bits.toFixed(2)} of ${bits(mixing.of_bits)}`);
}

function lists(state) {
  const { mixing, traffic: sent, processes, run } = state;
  const rateOf = mixing.cover_rates;
  facts("mixing", [
    ["Strategy", mixing.strategy],
    ["Hops", mixing.hops ? `${mixing.hops}` : "0: NO ANONYMITY"],
    ["Loops home, lost", `${count(mixing.loops_returned)}, ${count(mixing.loops_lost)}`],
    ["Loss of the latest", mixing.loop_loss === null ? "too few yet" : share(mixing.loop_loss, 0)],
    ["Slots a second", `send ${+rateOf.send.toFixed(2)}, loop ${+rateOf.loop.toFixed(2)}, drop ${+rateOf.drop.toFixed(2)}`],
    ["Epoch", `${mixing.epoch}, next in ${seconds(mixing.epoch_ends_in_seconds)}`],
  ]);
  const drops = Object.entries(sent.dropped).sort((a, b) => b[1] - a[1]).slice(0, 4);
  facts("traffic", [
    ["Sent, received", `${bytes(sent.bytes_sent)}, ${bytes(sent.bytes_received)}`],
    ["Packets", Object.entries(sent.packets).map(([kind, n]) => `${kind} ${count(n)}`).join(", ")],
    ...(sent.acked === null ? [["Messages given up", count(sent.gave_up)]] : [
      ["Messages acked", count(sent.acked)],
      ["Resent, given up", `${count(sent.resent)}, ${count(sent.gave_up)}`],
    ]),
    ["Waiting", Object.entries(sent.queues).filter(([, n]) => n).map(([name, n]) => `${name.replace("_", " ")} ${n}`).join(", ") || "nothing"],
    ["Dropped", drops.map(([reason, n]) => `${reason} ${count(n)}`).join(", ") || "nothing"],
  ]);
  facts("processes", [
    ["Daemon", `${bytes(processes.daemon_rss_bytes)}, CPU ${seconds(processes.daemon_cpu_seconds)}`],
    ["Trainer", processes.trainer],
    ...(processes.trainer_cpu_seconds === null ? [] : [["Its memory, CPU",
      `${bytes(processes.trainer_rss_bytes || null)}, ${seconds(processes.trainer_cpu_seconds)}`]]),
    ["Its restarts", count(processes.trainer_restarts)],
    ["Run", run ? run.run_id.slice(0, 8) : none],
    ["Cohort", run ? `${run.cohort}${run.listeners ? `, ${run.listeners} listen` : ""}` : none],
    ...(run?.epsilon != null ? [["Epsilon spent", run.epsilon.toPrecision(3)]] : []),
  ]);
  find("neighbours-card").hidden = !state.neighbours.length;
  facts("neighbours", state.neighbours.map((one) => [one.name, one.up ? seconds(one.rtt_seconds) : "down"]));
}

function show(state) {
  document.title = `${state.name} – peerd`;
  say("name", state.name);
  const leaving = state.draining ? ", leaving" : "";
  say("about", `network ${state.network}, version ${state.version}, up for ${seconds(state.uptime_seconds)}${leaving}`);
  find("alarms").hidden = !state.alarms.length;
  const raised = state.alarms.join();
  if (find("alarms").dataset.raised !== raised) {
    find("alarms").dataset.raised = raised;
    find("alarms").replaceChildren(
      ...state.alarms.map((name) => el("li", {}, el("strong", {}, name), ALARMS[name] ?? "see the log")));
  }
  tiles(state);
  lists(state);
  const curve = state.run?.curve ?? [];
  accuracy.show(curve.length ? [
    { name: "aggregated", points: curve.map((point) => [point.round, point.accuracy]) },
    ...(state.detail === "coarse" ? [] : [
      { name: "own model", tone: "second", points: curve.map((point) => [point.round, point.accuracy_local]) }]),
  ] : []);
  traffic.show(history.length > 1 ? [
    { name: "sent", points: rates("sent") },
    { name: "received", tone: "second", points: rates("received") },
  ] : []);
}

async function look() {
  try {
    const answer = await fetch("/status.json", { signal: AbortSignal.timeout(5000) });
    if (!answer.ok) throw new Error(`HTTP ${answer.status}`);
    const state = await answer.json();
    remember(Date.now(), state);
    show(state);
    live("live", state.detail === "coarse" ? COARSE : "live");
  } catch {
    live("lost", "peerd does not answer");
  }
}

async function follow() {
  for (;;) {
    if (!document.hidden) await look();
    await new Promise((resolve) => setTimeout(resolve, EVERY));
  }
}

document.addEventListener("visibilitychange", () => document.hidden || look());
follow();
