// Google's SDK: node models.mjs URL KEY. Prints the names of the models that it lists, as JSON.
import "./brand_host.mjs";
import { GoogleGenAI } from "@google/genai";

const [baseUrl, apiKey] = process.argv.slice(2);
const client = new GoogleGenAI({ apiKey, httpOptions: { baseUrl } });

const models = [];
for await (const listed of await client.models.list()) models.push(listed.name);

console.log(JSON.stringify({ models }));
