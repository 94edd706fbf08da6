// Anthropic's SDK: node messages.mjs URL KEY MODEL. Prints what it was answered, as JSON.
import "./brand_host.mjs";
import Anthropic from "@anthropic-ai/sdk";

const [baseURL, apiKey, model] = process.argv.slice(2);
const client = new Anthropic({ apiKey, baseURL, maxRetries: 0 });
const messages = [{ role: "user", content: "Say hello." }];
const ask = { model, max_tokens: 200, messages };

const plain = await client.messages.create(ask).asResponse();
const streamed = await client.messages.create({ ...ask, stream: true }).asResponse();
const counted = await client.messages.countTokens({ model, messages }).asResponse();
const final = await client.messages.stream(ask).finalMessage();
const models = [];
for await (const listed of client.models.list()) models.push(listed.id);
const refused = await new Anthropic({ apiKey: `${apiKey}x`, baseURL, maxRetries: 0 }).messages
  .create(ask)
  .catch((error) => error);

console.log(
  JSON.stringify({
    plain: await plain.text(),
    streamed: await streamed.text(),
    counted: await counted.text(),
    final_text: final.content[0].text,
    models,
    request_id: plain.headers.get("x-request-id"),
    refused: { name: refused.constructor.name, status: refused.status, body: refused.error },
  }),
);
