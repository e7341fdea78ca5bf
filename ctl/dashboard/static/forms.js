// The forms: what is in force stands in them; what the operator changes is sent, and what came of it is shown.

import { el, find, say } from "/draw.js";

const RUNNING = ["starting", "running", "paused"];
const DURATION = /_seconds$/;

/** 0.05 -> "50ms", as the forms take it. */
function duration(value) {
  if (value === 0 || value >= 1) return `${+value.toFixed(6)}s`;
  return value >= 0.001 ? `${+(value * 1e3).toFixed(6)}ms` : `${+(value * 1e6).toFixed(3)}us`;
}

const options = (values, label = (value) => value) => values.map((value) => el("option", { value }, label(value)));

function tell(id, tone, lines) {
  find(id).dataset.tone = tone;
  find(id).replaceChildren(el("ul", {}, ...lines.map((line) => el("li", {}, line))));
}

/** Send a request and show, peer by peer, what came of it. */
async function send(ask, path, body, place, done) {
  const buttons = [...document.querySelectorAll("button")].filter((button) => !button.disabled);
  for (const button of buttons) button.disabled = true;
  try {
    const outcome = await ask(path, body);
    const failed = Object.values(outcome.failed);
    const good = outcome.done.length ? [`${done} on ${outcome.done.join(", ")}${outcome.note ? `: ${outcome.note}` : ""}`] : [];
    const rest = good.length || !outcome.note ? [] : [outcome.note];
    tell(place, failed.length ? (good.length ? "warn" : "bad") : "good", [...good, ...failed, ...rest]);
    return outcome.done.length > 0;
  } catch (error) {
    tell(place, "bad", [error.message]);
    return false;
  } finally {
    for (const button of buttons) button.disabled = false;
  }
}

/** Fields that only some choices have. */
function reveal(form, needsData) {
  for (const label of form.querySelectorAll("[data-when]")) {
    const [name, values] = label.dataset.when.split("=");
    const wanted = name === "needs_data"
      ? needsData.includes(form.elements.task.value) || form.elements.partition.value === "own"
      : values.split(",").includes(form.elements[name].value);
    label.hidden = !wanted;
  }
}

const shown = (form) => [...form.elements].filter((field) => field.name && !field.closest("[hidden]"));

class MixForm {
  constructor(form, choices, ask) {
    Object.assign(this, { form, choices, ask, inForce: {} });
    form.elements.preset.append(...options(choices.preset));
    form.elements.strategy.append(...options(choices.strategy));
    form.addEventListener("input", (event) => this.changed(event));
    form.addEventListener("submit", (event) => this.submit(event));
    find("mix-reset").addEventListener("click", () => this.reset());
  }

  get fields() {
    return [...this.form.elements].filter((field) => field.name && !["peers", "preset"].includes(field.name));
  }

  get names() {
    const one = this.form.elements.peers.value;
    return one ? [one] : [];
  }

  /** What is in force on the peers that are chosen; where they differ, nothing. */
  text(name) {
    const configs = this.names.length ? [this.mixing[this.names[0]]] : Object.values(this.mixing);
    const texts = new Set(configs.filter(Boolean).map((config) => {
      const value = config[name];
      return DURATION.test(name) ? duration(value) : typeof value === "number" ? `${+value.toFixed(6)}` : `${value}`;
    }));
    return texts.size === 1 ? [...texts][0] : null;
  }

  update(state) {
    this.mixing = state.mixing;
    const names = Object.keys(state.mixing);
    const select = this.form.elements.peers;
    if (select.dataset.names !== names.join("\n")) {
      const before = select.value;
      select.dataset.names = names.join("\n");
      select.replaceChildren(el("option", { value: "" }, `all ${state.peers.length} peers`), ...options(names));
      select.value = names.includes(before) ? before : "";
    }
    for (const field of this.fields) if (!this.isChanged(field)) this.fill(field);
    reveal(this.form, []);
  }

  fill(field) {
    const text = this.text(field.name);
    this.inForce[field.name] = text;
    if (field.tagName === "SELECT") this.blank(field, text === null);
    else field.placeholder = text === null ? "differs" : "";
    if (field.value !== (text ?? "")) field.value = text ?? "";
    field.closest("label").classList.remove("changed");
  }

  blank(select, wanted) {
    const first = select.options[0];
    if (wanted && first.value) select.prepend(el("option", { value: "" }, "differs"));
    if (!wanted && !first.value) first.remove();
  }

  isChanged(field) {
    return field.closest("label").classList.contains("changed");
  }

  changed({ target }) {
    const { name } = target;
    if (name === "peers") return this.reset();
    if (name === "preset") this.offer(target.value);
    const now = target.value.trim();
    const before = name === "preset" ? "" : this.inForce[name] ?? "";
    target.closest("label").classList.toggle("changed", now !== before);
    reveal(this.form, []);
  }

  /** What the preset sets, as it will stand. */
  offer(preset) {
    for (const field of this.fields) this.fill(field);
    for (const [name, value] of Object.entries(this.choices.presets[preset] ?? {})) {
      const field = this.form.elements[name];
      if (!field) continue;
      field.value = DURATION.test(name) ? duration(value) : `${value}`;
      field.closest("label").classList.toggle("changed", field.value !== this.inForce[name]);
    }
  }

  reset() {
    this.form.elements.preset.value = "";
    this.form.elements.preset.closest("label").classList.remove("changed");
    for (const field of this.fields) this.fill(field);
    reveal(this.form, []);
  }

  async submit(event) {
    event.preventDefault();
    const changed = shown(this.form).filter((field) => field.name !== "peers" && this.isChanged(field));
    const fields = Object.fromEntries(changed.map((field) => [field.name, field.value]));
    const taken = await send(this.ask, "/api/mix", { peers: this.names, fields }, "mix-outcome", "Set");
    if (taken) this.reset();
  }
}

class RunForm {
  constructor(form, choices, ask) {
    Object.assign(this, { form, choices, ask });
    find("tasks").append(...options(choices.task));
    for (const name of ["partition", "aggregator", "encoding"]) form.elements[name].append(...options(choices[name]));
    form.addEventListener("input", () => reveal(form, choices.needs_data));
    form.addEventListener("submit", (event) => this.submit(event));
    find("pause").addEventListener("click", () => this.steer("pause", "Paused"));
    find("resume").addEventListener("click", () => this.steer("resume", "Resumed"));
    find("stop").addEventListener("click", () => this.stop());
    reveal(form, choices.needs_data);
  }

  update({ run }) {
    const states = Object.keys(run?.states ?? {});
    const going = states.some((state) => RUNNING.includes(state));
    find("pause").disabled = !states.some((state) => ["starting", "running"].includes(state));
    find("resume").disabled = !states.includes("paused");
    find("stop").disabled = !going;
    const submit = this.form.querySelector("button.primary");
    submit.disabled = going;
    say("start-hint", going ? "A run goes on: stop it first." : "");
    say("run-title", run ? `Run ${run.run_id.slice(0, 8)}: ${run.task}` : "Run");
    this.run = run;
  }

  async submit(event) {
    event.preventDefault();
    const typed = shown(this.form).filter((field) => field.value.trim());
    const fields = Object.fromEntries(typed.map((field) => [field.name, field.value]));
    await send(this.ask, "/api/run/start", { fields }, "run-outcome", "Started");
  }

  steer(what, done) {
    return send(this.ask, `/api/run/${what}`, {}, "run-outcome", done);
  }

  stop() {
    const dialog = find("sure");
    find("sure-text").textContent =
      `Stop run ${this.run.run_id.slice(0, 8)} in round ${this.run.round} of ${this.run.rounds}? The peers go on relaying.`;
    dialog.returnValue = "no";
    dialog.addEventListener("close", () => dialog.returnValue === "yes" && this.steer("stop", "Stopped"), { once: true });
    dialog.showModal();
  }
}

export function connect(choices, ask) {
  const forms = [new MixForm(find("mix-form"), choices, ask), new RunForm(find("start-form"), choices, ask)];
  return { update: (state) => forms.forEach((form) => form.update(state)) };
}
