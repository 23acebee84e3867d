// The start of the page: the tabs, the list of models, and one object for each view.

import { AskView } from "./ask.js";
import { ChooseView } from "./choose.js";
import { CostsView } from "./costs.js";
import { byId, replace, element } from "./dom.js";
import { readCatalogue } from "./models.js";
import { showError } from "./problem.js";
import { callJson } from "./server.js";
import { startTabs } from "./tabs.js";

const catalogue = loadCatalogue();
const ask = new AskView(catalogue);
const views = { ask, costs: new CostsView(catalogue), choose: new ChooseView(catalogue, ask) };
startTabs(byId("ask").parentElement, views);

/** The models of the server; where it does not tell, it decides by itself, and refuses an N above its limit. */
async function loadCatalogue() {
  try {
    const known = readCatalogue(await callJson("v1/models"));
    replace(byId("model"), ...known.models.map((name) => element("option", { value: name }, name)));
    return known;
  } catch (error) {
    showError(byId("ask-error"), error);
    return { models: [], maxBestOf: 64 };
  }
}
