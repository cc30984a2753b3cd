// The events of one generation, printed as they come and folded into a message.

import { type Message, Role, type ToolCallPart } from "../gen/ts-grpc-js/marsys/v1/content.js";
import type { FinishReason } from "../gen/ts-grpc-js/marsys/v1/response.js";
import type { PartFinished, StreamEvent } from "../gen/ts-grpc-js/marsys/v1/stream.js";

/** One generation, fed event by event. */
export class Answer {
  /** The assistant's message, as far as its parts are complete. */
  readonly message: Message = { role: Role.ROLE_ASSISTANT, parts: [] };
  /** Why the model stopped; undefined until the last event. */
  finishReason: FinishReason | undefined;
  private next = 0n;
  private readonly told = new Set<number>(); // parts of which deltas came

  /**
   * Takes the next event and prints what is new in it.
   * @throws Error: an event is missing, or comes after the last.
   */
  feed({ sequence, event }: StreamEvent): void {
    if (sequence !== this.next || this.finishReason !== undefined) {
      throw new Error(`event ${sequence} came where ${this.next} was due`);
    }
    this.next += 1n;
    switch (event?.$case) {
      case "partDelta":
        this.told.add(event.value.partIndex);
        process.stdout.write(event.value.delta?.value ?? "");
        break;
      case "partFinished":
        this.finishPart(event.value);
        break;
      case "warningRaised":
        console.log(`warning: ${event.value.warning?.message}`);
        break;
      case "finished":
        this.finishReason = event.value.finishReason;
        break;
    }
  }

  /** Whether the model has begun to write. */
  get begun(): boolean {
    return this.told.size > 0;
  }

  /** The tools that the model wants called. */
  toolCalls(): ToolCallPart[] {
    return this.message.parts.flatMap(({ content }) => (content?.$case === "toolCall" ? [content.value] : []));
  }

  // The finished part is whole: what must be sent back unchanged is in it. Deltas may be missing.
  private finishPart({ partIndex, part }: PartFinished): void {
    if (part === undefined) throw new Error(`part ${partIndex} is empty`);
    this.message.parts[partIndex] = part;
    if (!this.told.has(partIndex) && part.content?.$case === "text") process.stdout.write(part.content.value.text);
    process.stdout.write("\n");
  }
}
