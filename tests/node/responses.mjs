// OpenAI's SDK: node responses.mjs URL KEY MODEL EMBEDDING_MODEL. Prints what it was answered, as JSON.
import "./brand_host.mjs";
import OpenAI from "openai";

const [url, apiKey, model, embedding] = process.argv.slice(2);
const baseURL = `${url}/v1`;
const client = new OpenAI({ apiKey, baseURL, maxRetries: 0 });
const chat = { model, messages: [{ role: "user", content: "Say hello." }] };
const respond = { model, input: "Say hello.", store: false };

const completed = await client.chat.completions.create(chat).asResponse();
const chunks = await client.chat.completions.create({ ...chat, stream: true }).asResponse();
const responded = await client.responses.create(respond).asResponse();
const events = await client.responses.create({ ...respond, stream: true }).asResponse();
const final = await client.chat.completions.stream(chat).finalContent();
const finalResponse = await client.responses.stream(respond).finalResponse();
const embedded = await client.embeddings.create({ model: embedding, input: "one" });
const models = [];
for await (const listed of client.models.list()) models.push(listed.id);
const refused = await new OpenAI({ apiKey: `${apiKey}x`, baseURL, maxRetries: 0 }).chat.completions
  .create(chat)
  .catch((error) => error);

console.log(
  JSON.stringify({
    completed: await completed.text(),
    chunks: await chunks.text(),
    responded: await responded.text(),
    events: await events.text(),
    final_text: final,
    final_response_text: finalResponse.output_text,
    dimensions: embedded.data[0].embedding.length,
    models,
    request_id: completed.headers.get("x-request-id"),
    refused: { name: refused.constructor.name, status: refused.status, type: refused.type, code: refused.code },
  }),
);
