// The feed of events: read every two seconds while somebody looks at the page.
import { Problem, get } from "./api.js";

const PERIOD = 2_000;
const LONGEST = 15_000;
const LIMIT = 200;

/**
 * @typedef {"live" | "paused" | "cut"} State
 */

export class Live {
  /** @type {State} */
  state = "live";
  /** When the service was heard last. */
  heard = new Date();

  /** @type {string | undefined} */
  #after;
  #timer = 0;
  #failures = 0;
  #running = false;
  #busy = false;
  #listener;

  /** @param {(events: FeedEvent[], back: boolean) => void} listener gets new events; `back`: some may have been missed */
  constructor(listener) {
    this.#listener = listener;
    document.addEventListener("visibilitychange", () => {
      if (!this.#running) return;
      if (document.hidden) this.#pause();
      else this.now();
    });
  }

  start() {
    this.#running = true;
    this.heard = new Date();
    if (document.hidden) this.#pause();
    else this.now();
  }

  stop() {
    this.#running = false;
    clearTimeout(this.#timer);
  }

  /** Asks at once. */
  now() {
    clearTimeout(this.#timer);
    void this.#ask();
  }

  #pause() {
    clearTimeout(this.#timer);
    this.state = "paused";
    this.#listener([], false);
  }

  async #ask() {
    if (this.#busy || !this.#running) return;
    this.#busy = true;
    const back = this.state !== "live";
    try {
      const { events, after } = await get("/events", { query: { after: this.#after, limit: LIMIT } });
      // Whoever cannot keep up goes on with what happens now: the page reads its state anyway.
      const late = events.length === LIMIT;
      const missed = back || late || this.#after === undefined;
      this.#after = late ? undefined : after;
      this.#failures = 0;
      this.state = document.hidden ? "paused" : "live";
      this.heard = new Date();
      this.#listener(events, missed);
    } catch (error) {
      this.#failures += 1;
      // The place in the feed is no longer kept, or never was: begin anew.
      if (error instanceof Problem && error.status >= 400 && error.status < 500) this.#after = undefined;
      this.state = "cut";
      this.#listener([], false);
    }
    this.#busy = false;
    if (this.#running && !document.hidden) {
      this.#timer = setTimeout(() => this.#ask(), Math.min(PERIOD * 2 ** this.#failures, LONGEST));
    }
  }
}
