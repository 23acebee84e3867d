// An error as the server said it, with the field at fault and the time to come back.

import { element, replace } from "./dom.js";
import { counted } from "./format.js";

/** Shows an error in a place of its own; null clears it. */
export function showError(place, error) {
  if (error === null) replace(place);
  else replace(place, element("div", { class: "error", role: "alert" }, ...lines(error)), comeBack(place, error));
}

function lines(error) {
  const title = error.status ? `The server answered ${error.status}: ` : "";
  const text = error instanceof TypeError ? "The server cannot be reached." : error.message;
  return [
    element("p", {}, element("strong", {}, title), text),
    error.param ? element("p", {}, "Field: ", element("code", {}, error.param)) : null,
  ];
}

/** Counts down to the time that the server named; outside the alert, so that it is not read out each second. */
function comeBack(place, error) {
  if (error.retryAfterS == null || Number.isNaN(error.retryAfterS)) return null;
  const line = element("p", { class: "countdown" });
  const endsMs = performance.now() + error.retryAfterS * 1000;
  const tick = () => {
    const leftS = Math.ceil((endsMs - performance.now()) / 1000);
    line.textContent = leftS > 0 ? `Ask again in ${counted(leftS, "second")}.` : "You can ask again now.";
    if (leftS > 0) setTimeout(() => place.contains(line) && tick(), 250);
  };
  tick();
  return line;
}
