// openai-node against phi3 serve with the built-in model. run.sh sets the environment.
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { test } from "node:test";
import OpenAI from "openai";

const { PHI3, PHI3_URL, PHI3_KEY } = process.env;
const client = new OpenAI({ baseURL: `${PHI3_URL}/v1`, apiKey: PHI3_KEY, maxRetries: 0, timeout: 300000 });
const greedy = { model: "phi3-demo", temperature: 0 };
const prompt = "The capital of Germany is";
const messages = [{ role: "user", content: "What is the capital of France?" }];

const generate = (...flags) =>
	JSON.parse(execFileSync(PHI3, ["generate", "-q", "--device", "cpu", "--json", ...flags])).text;
const text = async (stream) => {
	let all = "";
	for await (const chunk of stream) all += chunk.choices[0]?.text ?? chunk.choices[0]?.delta.content ?? "";
	return all;
};

test("models", async () => {
	const ids = [];
	for await (const model of client.models.list()) ids.push(model.id);
	assert.deepEqual(ids, ["phi3-demo"]);
});

test("chat, whole and streamed, is the text of generate", async () => {
	// The space that begins an answer is not shown in a chat.
	const expected = generate("--chat", "--prompt", messages[0].content).replace(/^ /, "");
	const whole = await client.chat.completions.create({ ...greedy, messages });
	assert.equal(whole.choices[0].message.content, expected);
	const stream = await client.chat.completions.create(
		{ ...greedy, messages, stream: true, stream_options: { include_usage: true } });
	let streamed = "", usage;
	for await (const chunk of stream) {
		streamed += chunk.choices[0]?.delta.content ?? "";
		usage = chunk.usage ?? usage;
	}
	assert.equal(streamed, expected);
	assert.deepEqual([usage.prompt_tokens, usage.completion_tokens],
		[whole.usage.prompt_tokens, whole.usage.completion_tokens]);
});

test("completions: text, ids, several prompts", async () => {
	const expected = generate("--prompt", prompt);
	const complete = (more) => client.completions.create({ ...greedy, max_tokens: 256, ...more });
	assert.equal((await complete({ prompt })).choices[0].text, expected);
	assert.equal(await text(await complete({ prompt, stream: true })), expected);
	assert.equal((await complete({ prompt: [303, 288, 285, 1704, 268] })).choices[0].text, expected);
	const both = await complete({ prompt: [prompt, prompt] });
	assert.deepEqual(both.choices.map((choice) => choice.text), [expected, expected]);
});

test("n, seed and stop", async () => {
	const draw = () => client.completions.create(
		{ ...greedy, prompt: "The capital of", temperature: 1.2, seed: 4, n: 2, max_tokens: 64 });
	const [one, two] = [await draw(), await draw()];
	assert.deepEqual(one.choices, two.choices);
	assert.equal(one.choices.length, 2);
	const stopped = await client.completions.create({ ...greedy, prompt, stop: ["city"], max_tokens: 64 });
	assert.equal(stopped.choices[0].text, " Berlin. It is a ");
	assert.equal(stopped.choices[0].finish_reason, "stop");
});

test("log probabilities", async () => {
	const answer = await client.chat.completions.create(
		{ ...greedy, messages, logprobs: true, top_logprobs: 2 });
	for (const token of answer.choices[0].logprobs.content) {
		assert.ok(token.logprob <= 0);
		assert.equal(token.top_logprobs.length, 2);
	}
});

test("errors have the classes of the library", async () => {
	const chat = (more) => client.chat.completions.create({ ...greedy, messages, ...more });
	await assert.rejects(chat({ temperature: -1 }), OpenAI.BadRequestError);
	await assert.rejects(chat({ tools: [{ type: "function", function: { name: "f" } }] }), (error) =>
		error instanceof OpenAI.BadRequestError && error.param === "tools");
	await assert.rejects(chat({ model: "nothing" }), OpenAI.NotFoundError);
	await assert.rejects(new OpenAI({ baseURL: `${PHI3_URL}/v1`, apiKey: "wrong" }).models.list(),
		OpenAI.AuthenticationError);
});

test("a stream can be aborted", async () => {
	const stream = await client.completions.create(
		{ ...greedy, prompt, max_tokens: 400, ignore_eos: true, stream: true });
	let chunks = 0;
	for await (const _ of stream) if (++chunks === 3) stream.controller.abort();
	assert.equal((await client.completions.create({ ...greedy, prompt, max_tokens: 4 })).choices.length, 1);
});

test("headers", async () => {
	const { response, request_id } =
		await client.chat.completions.create({ ...greedy, messages }).withResponse();
	assert.match(response.headers.get("content-type"), /^application\/json/);
	assert.ok(request_id);
});
