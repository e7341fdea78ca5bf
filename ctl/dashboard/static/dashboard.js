// The dashboard: waits for news of the network and shows them, as long as the page is open.

import { say, find } from "/draw.js";
import { connect } from "/forms.js";
import { show } from "/panels.js";

const KEY = "peerd-dashboard-key"; // this origin's alone: other ports of this host cannot read it
const PAUSE = 400;
const RETRY = 2000;

/** The link brought it once, in the part of the address that no server is sent. */
function key() {
  const given = new URLSearchParams(location.hash.slice(1)).get("key");
  if (given) {
    localStorage.setItem(KEY, given);
    history.replaceState(null, "", "/");
  }
  return localStorage.getItem(KEY) ?? "";
}

const credentials = key();

/** Ask this dashboard's server; throws what it says in one line. */
export async function ask(path, body) {
  const headers = { "X-Dashboard-Key": credentials };
  const options = body === undefined
    ? { headers, signal: AbortSignal.timeout(40000) }
    : { method: "POST", headers: { ...headers, "Content-Type": "application/json" }, body: JSON.stringify(body) };
  let answer;
  try {
    answer = await fetch(path, options);
  } catch {
    throw new Error("peerctl dashboard does not answer; has it ended?");
  }
  const data = await answer.json().catch(() => ({ error: `HTTP ${answer.status}` }));
  if (!answer.ok) throw new Error(data.error);
  return data;
}

function live(state, text) {
  find("live").dataset.state = state;
  say("live", text);
}

const wait = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));

async function follow(forms) {
  let version = -1;
  for (;;) {
    try {
      const state = await ask(`/api/state?after=${version}`);
      version = state.version;
      show(state);
      forms.update(state);
      live("live", "live");
      await wait(PAUSE);
    } catch (error) {
      live("lost", error.message);
      version = -1;
      await wait(RETRY);
    }
  }
}

async function begin() {
  for (;;) {
    try {
      return connect(await ask("/api/choices"), ask);
    } catch (error) {
      live("lost", error.message);
      await wait(RETRY);
    }
  }
}

follow(await begin());
