// What scripts add to pages that are whole without them.

import { offerActions } from "./actions.js";
import { listenForKeys } from "./keys.js";
import { keepFresh } from "./refresh.js";
import { openTrees } from "./tree.js";

listenForKeys();
openTrees();
offerActions();
keepFresh();
