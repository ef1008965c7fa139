import { render } from "preact";
import { App } from "./app";
import { share } from "./share";
import { start } from "./state";
import { dress } from "./theme";
import "./style.css";

share();
dress();
void start();
render(<App />, document.getElementById("app")!);
