import { render } from "preact";
import { App } from "./app";
import { share } from "./share";
import { start } from "./state";
import "./style.css";

share();
void start();
render(<App />, document.getElementById("app")!);
