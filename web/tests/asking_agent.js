// An agent that speaks ACP and asks before it does what it was told; then it says what was answered.
import { createInterface } from "node:readline";

/** @param {any} message */
const say = (message) => process.stdout.write(`${JSON.stringify({ jsonrpc: "2.0", ...message })}\n`);
let prompt = 0;

for await (const line of createInterface({ input: process.stdin })) {
  const { id, method, params, result } = JSON.parse(line);
  if (method === "initialize") say({ id, result: { protocolVersion: 1, agentCapabilities: {} } });
  else if (method === "session/new") say({ id, result: { sessionId: "s" } });
  else if (method === "session/prompt") {
    prompt = id;
    const command = params.prompt.map((/** @type {any} */ part) => part.text).join("");
    const options = ["allow_once", "reject_once"].map((kind) => ({ kind, name: kind, optionId: kind }));
    const toolCall = { toolCallId: "t", title: "Run tests", rawInput: { command } };
    const update = { sessionUpdate: "tool_call", status: "pending", ...toolCall };
    say({ method: "session/update", params: { sessionId: "s", update } });
    say({ id: "wish", method: "session/request_permission", params: { sessionId: "s", toolCall, options } });
  } else if (id === "wish") {
    const text = `Answered: ${result.outcome.optionId}`;
    const update = { sessionUpdate: "agent_message_chunk", content: { type: "text", text } };
    say({ method: "session/update", params: { sessionId: "s", update } });
    say({ id: prompt, result: { stopReason: "end_turn" } });
  }
}
