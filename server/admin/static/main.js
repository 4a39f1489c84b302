// What scripts add to pages that are whole without them.

import { listenForKeys } from "./keys.js";
import { keepFresh } from "./refresh.js";

listenForKeys();
keepFresh();
