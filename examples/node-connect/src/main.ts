// Talks to api_service or local_inference_service: node dist/src/main.js TARGET MODEL [DEMO...]

import { connect, type InferenceClient } from "./client.js";
import { converse } from "./converse.js";
import { showError } from "./errors.js";
import { describeFailure } from "./failure.js";
import { streamWithTools } from "./tools.js";
import { unary } from "./unary.js";

type Demo = (client: InferenceClient, model: string) => Promise<void>;

const DEMOS: Record<string, Demo> = {
  unary,
  tools: streamWithTools,
  converse,
  errors: showError,
};

async function main(): Promise<number> {
  const [target, model, ...names] = process.argv.slice(2);
  const unknown = names.filter((name) => !(name in DEMOS));
  if (target === undefined || model === undefined || unknown.length > 0) {
    console.error(`usage: main.js TARGET MODEL [${Object.keys(DEMOS).join("|")}]...`);
    return 2;
  }
  const { client, close } = connect(target);
  try {
    for (const [name, demo] of Object.entries(DEMOS)) {
      if (names.length > 0 && !names.includes(name)) continue;
      console.log(`== ${name}`);
      await demo(client, model);
    }
    return 0;
  } catch (error) {
    console.error(describeFailure(error));
    return 1;
  } finally {
    close();
  }
}

process.exitCode = await main();
