"""openai-python against phi3 serve with the built-in model. run.sh sets the environment."""

import asyncio
import concurrent.futures
import json
import os
import subprocess
import time
import unittest
import urllib.request

import openai

URL, KEY, MODEL = os.environ["PHI3_URL"], os.environ["PHI3_KEY"], "phi3-demo"
client = openai.OpenAI(base_url=URL + "/v1", api_key=KEY, max_retries=0, timeout=300)
# A server that runs two texts at once and lets one wait. Its context is long, so a text may never end.
SMALL = os.environ["PHI3_SMALL_URL"]
small = openai.OpenAI(base_url=SMALL + "/v1", api_key=KEY, max_retries=0, timeout=300)

PROMPT = "The capital of Germany is"
QUESTION = "What is the capital of France?"
GREEDY = {"model": MODEL, "temperature": 0}


def generate(*flags):
    """The texts of phi3 generate: a list of the objects that --json prints."""
    command = [os.environ["PHI3"], "generate", "-q", "--device", "cpu", "--json", *flags]
    text, decoder, results = subprocess.check_output(command, text=True).strip(), json.JSONDecoder(), []
    while text:
        result, end = decoder.raw_decode(text)
        results.append(result)
        text = text[end:].strip()
    return results


def post(path, body):
    request = urllib.request.Request(URL + path, json.dumps(body).encode(),
                                     {"Authorization": "Bearer " + KEY, "Content-Type": "application/json"})
    with urllib.request.urlopen(request) as answer:
        return json.load(answer)


def metric(name, url=URL):
    """The sum of a metric's samples."""
    request = urllib.request.Request(url + "/metrics", headers={"Authorization": "Bearer " + KEY})
    with urllib.request.urlopen(request) as answer:
        lines = answer.read().decode().splitlines()
    return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.split("{")[0].split(" ")[0] == name)


def chat(question=QUESTION, **more):
    return client.chat.completions.create(messages=[{"role": "user", "content": question}], **GREEDY | more)


def complete(prompt=PROMPT, **more):
    return client.completions.create(prompt=prompt, **GREEDY | {"max_tokens": 256} | more)


def endless(**more):
    return small.completions.create(prompt=PROMPT, stream=True, max_tokens=1_000_000,
                                    extra_body={"ignore_eos": True}, **GREEDY | more)


def sequences(url):
    return metric("phi3:num_requests_running", url) + metric("phi3:num_requests_waiting", url)


def wait(happened, what):
    end = time.monotonic() + 120
    while not happened():
        assert time.monotonic() < end, "never: " + what
        time.sleep(0.02)


class Models(unittest.TestCase):
    def test_list_and_retrieve(self):
        models = client.models.list().data
        self.assertEqual([MODEL], [model.id for model in models])
        self.assertEqual("model", models[0].object)
        self.assertEqual(models[0], client.models.retrieve(MODEL))


class SameText(unittest.TestCase):
    """The text is that of phi3 generate, whole and in pieces, for one request and for many at once."""

    def test_chat(self):
        expected, = generate("--chat", "--prompt", QUESTION)
        text = expected["text"].removeprefix(" ")  # the space that begins an answer is not shown in a chat
        whole = chat()
        self.assertEqual(text, whole.choices[0].message.content)
        self.assertEqual("assistant", whole.choices[0].message.role)
        self.assertEqual(expected["finish_reason"], whole.choices[0].finish_reason)
        self.assertEqual(len(expected["prompt_ids"]), whole.usage.prompt_tokens)
        self.assertEqual(len(expected["ids"]), whole.usage.completion_tokens)
        self.assertEqual(whole.usage.prompt_tokens + whole.usage.completion_tokens, whole.usage.total_tokens)

        *chunks, last = chat(stream=True, stream_options={"include_usage": True})
        self.assertEqual([], last.choices)
        self.assertEqual(whole.usage.completion_tokens, last.usage.completion_tokens)
        self.assertTrue(all(chunk.usage is None for chunk in chunks))
        self.assertEqual(1, len({chunk.id for chunk in chunks}))
        choices = [chunk.choices[0] for chunk in chunks]
        self.assertEqual("assistant", choices[0].delta.role)
        self.assertEqual(text, "".join(choice.delta.content or "" for choice in choices))
        self.assertEqual([expected["finish_reason"]], [c.finish_reason for c in choices if c.finish_reason])

    def test_the_stream_helper(self):
        with client.chat.completions.stream(messages=[{"role": "user", "content": QUESTION}],
                                            **GREEDY) as stream:
            for _ in stream:
                pass
            final = stream.get_final_completion()
        self.assertEqual(chat().choices[0].message.content, final.choices[0].message.content)

    def test_a_conversation(self):
        messages = [{"role": "system", "content": "Answer briefly."}, {"role": "user", "content": QUESTION},
                    {"role": "assistant", "content": "The capital of France is Paris."},
                    {"role": "user", "content": [{"type": "text", "text": "And of Italy?"}]}]
        first = client.chat.completions.create(messages=messages, **GREEDY)
        again = client.chat.completions.create(messages=messages, **GREEDY)
        self.assertTrue(first.choices[0].message.content)
        self.assertEqual(first.choices, again.choices)

    def test_completion(self):
        expected, = generate("--prompt", PROMPT)
        self.assertEqual(expected["text"], complete().choices[0].text)
        self.assertEqual(expected["text"], "".join(c.choices[0].text for c in complete(stream=True)))
        tokens = post("/tokenize", {"prompt": PROMPT})["tokens"]
        self.assertEqual(expected["prompt_ids"], tokens)
        self.assertEqual(expected["text"], complete(tokens).choices[0].text)

    def test_several_prompts(self):
        prompts = [PROMPT, "The capital of France is", "Dear"]
        alone = [complete(prompt).choices[0].text for prompt in prompts]
        together = complete(prompts)
        self.assertEqual([0, 1, 2], [choice.index for choice in together.choices])
        self.assertEqual(alone, [choice.text for choice in together.choices])
        ids = [post("/tokenize", {"prompt": prompt})["tokens"] for prompt in prompts]
        self.assertEqual(alone, [choice.text for choice in complete(ids).choices])
        texts = ["", "", ""]
        for chunk in complete(prompts, stream=True):
            for choice in chunk.choices:
                texts[choice.index] += choice.text
        self.assertEqual(alone, texts)

    def test_many_at_once(self):
        """48 requests together give the bytes, and the log probabilities, of each one alone."""
        def ask(i):
            kind = {"seed": i, "temperature": 1.2} if i % 3 else {}
            prompt = PROMPT if i % 2 else f"{i} plus {i // 2} is"
            choice = complete(prompt, logprobs=2, max_tokens=8 + 5 * i, **kind).choices[0]
            return choice.text, choice.logprobs.token_logprobs, choice.logprobs.top_logprobs
        alone = [ask(i) for i in range(48)]
        with concurrent.futures.ThreadPoolExecutor(24) as pool:
            self.assertEqual(alone, list(pool.map(ask, range(48))))

    def test_asynchronous_client(self):
        async def both():
            async with openai.AsyncOpenAI(base_url=URL + "/v1", api_key=KEY) as a:
                requests = [a.completions.create(prompt=PROMPT, max_tokens=32, **GREEDY) for _ in range(8)]
                return {answer.choices[0].text for answer in await asyncio.gather(*requests)}
        self.assertEqual({complete(max_tokens=32).choices[0].text}, asyncio.run(both()))


class Parameters(unittest.TestCase):
    def test_seed(self):
        draws = {"temperature": 1.2, "max_tokens": 64}
        first = complete("The capital of", seed=4, **draws).choices[0].text
        self.assertEqual(first, complete("The capital of", seed=4, **draws).choices[0].text)
        others = {complete("The capital of", seed=seed, **draws).choices[0].text for seed in range(5, 13)}
        self.assertGreater(len(others), 2)

    def test_n(self):
        drawn = generate("--prompt", "The capital of", "--num-return-sequences", "2", "--seed", "4",
                         "--temperature", "1.2", "--top-k", "0")
        answer = complete("The capital of", n=2, seed=4, temperature=1.2)
        self.assertEqual([0, 1], [choice.index for choice in answer.choices])
        self.assertEqual([text["text"] for text in drawn], [choice.text for choice in answer.choices])
        self.assertNotEqual(answer.choices[0].text, answer.choices[1].text)
        greedy = chat(n=2).choices
        self.assertEqual(greedy[0].message.content, greedy[1].message.content)
        texts = ["", ""]
        for chunk in complete("The capital of", n=2, seed=4, temperature=1.2, stream=True):
            for choice in chunk.choices:
                texts[choice.index] += choice.text
        self.assertEqual([choice.text for choice in answer.choices], texts)

    def test_stop(self):
        whole = complete().choices[0].text
        before = whole[:whole.index("city")]
        for stop in "city", ["never", "city"]:
            choice = complete(stop=stop).choices[0]
            self.assertEqual((before, "stop"), (choice.text, choice.finish_reason))
            self.assertEqual(before, "".join(c.choices[0].text for c in complete(stop=stop, stream=True)))

    def test_max_tokens(self):
        for limit in {"max_tokens": 3}, {"max_completion_tokens": 3}:
            answer = chat(**limit)
            self.assertEqual("length", answer.choices[0].finish_reason)
            self.assertEqual(3, answer.usage.completion_tokens)
        self.assertEqual(3, complete(max_tokens=3).usage.completion_tokens)

    def test_logprobs_of_a_chat(self):
        choice = chat(logprobs=True, top_logprobs=3).choices[0]
        content = choice.logprobs.content
        shown = b"".join(bytes(token.bytes) for token in content)
        self.assertEqual(choice.message.content, shown.decode().removeprefix(" "))
        for token in content:
            self.assertLessEqual(token.logprob, 0)
            self.assertEqual(3, len(token.top_logprobs))
            self.assertEqual(token.token, token.top_logprobs[0].token)  # a greedy choice
            self.assertEqual(token.logprob, token.top_logprobs[0].logprob)
        streamed = []
        for chunk in chat(logprobs=True, top_logprobs=3, stream=True):
            if chunk.choices[0].logprobs:
                streamed += chunk.choices[0].logprobs.content or []
        self.assertEqual([(t.token, t.logprob) for t in content], [(t.token, t.logprob) for t in streamed])

    def test_logprobs_of_a_completion(self):
        expected, = generate("--prompt", PROMPT, "--logprobs", "2")
        logprobs = complete(logprobs=2).choices[0].logprobs
        values = [token["logprob"] for token in expected["logprobs"]]
        for value, ours in zip(values, logprobs.token_logprobs):
            self.assertEqual(value, ours)
        self.assertEqual(len(logprobs.tokens), len(logprobs.text_offset))

    def test_echo(self):
        answer = complete(echo=True, logprobs=1, max_tokens=4)
        self.assertTrue(answer.choices[0].text.startswith(PROMPT))
        logprobs = answer.choices[0].logprobs
        self.assertIsNone(logprobs.token_logprobs[0])
        self.assertEqual(len(logprobs.tokens), len(logprobs.token_logprobs))
        self.assertEqual(PROMPT, complete(echo=True, max_tokens=0).choices[0].text)

    def test_logit_bias(self):
        berlin, = post("/tokenize", {"prompt": "Berlin"})["tokens"]
        self.assertTrue(complete().choices[0].text.startswith(" Berlin"))
        self.assertFalse(complete(logit_bias={str(berlin): -100}).choices[0].text.startswith(" Berlin"))

    def test_parameters_beyond_openai(self):
        extra = {"top_k": 1, "min_p": 0.1, "typical_p": 1, "repetition_penalty": 1, "min_tokens": 20,
                 "no_repeat_ngram_size": 0}
        answer = complete(temperature=1, max_tokens=20, extra_body=extra)
        self.assertEqual(20, answer.usage.completion_tokens)
        answer = complete(max_tokens=40, extra_body={"ignore_eos": True})
        self.assertEqual(("length", 40), (answer.choices[0].finish_reason, answer.usage.completion_tokens))


class Errors(unittest.TestCase):
    def test_bad_request(self):
        tool = {"type": "function", "function": {"name": "f", "parameters": {}}}
        for param, call in {
            "temperature": lambda: chat(temperature=-1),
            "top_p": lambda: chat(top_p=2),
            "n": lambda: chat(n=0),
            "max_tokens": lambda: chat(max_tokens=-1),
            "tools": lambda: chat(tools=[tool]),
            "response_format": lambda: chat(response_format={"type": "json_object"}),
            "suffix": lambda: complete(suffix="."),
            "messages": lambda: client.chat.completions.create(messages=[], **GREEDY),
        }.items():
            with self.subTest(param), self.assertRaises(openai.BadRequestError) as caught:
                call()
            self.assertEqual((param, "invalid_request_error"),
                             (caught.exception.param, caught.exception.type))

    def test_too_long(self):
        with self.assertRaises(openai.BadRequestError) as caught:
            complete("word " * 2000)
        self.assertEqual("context_length_exceeded", caught.exception.code)

    def test_authentication(self):
        for key in "wrong", KEY + "x":
            with self.assertRaises(openai.AuthenticationError):
                openai.OpenAI(base_url=URL + "/v1", api_key=key, max_retries=0).models.list()

    def test_not_found(self):
        with self.assertRaises(openai.NotFoundError):
            client.models.retrieve("nothing")
        with self.assertRaises(openai.NotFoundError) as caught:
            chat(model="nothing")
        self.assertEqual("model_not_found", caught.exception.code)

    def test_rate_limit(self):
        """A server with two places to run and one to wait refuses the fourth request."""
        with concurrent.futures.ThreadPoolExecutor(3) as pool:
            # Streams count until they are closed, whether they are read or not.
            streams = [pool.submit(endless) for _ in range(3)]
            wait(lambda: sequences(SMALL) == 3, "three requests")
            for _ in range(10):
                with self.assertRaises(openai.RateLimitError) as caught:
                    small.completions.create(prompt=PROMPT, max_tokens=400, **GREEDY)
                self.assertGreater(int(caught.exception.response.headers["retry-after"]), 0)
            for stream in concurrent.futures.as_completed(streams):
                stream.result().close()  # at the latest then, another one begins
        wait(lambda: sequences(SMALL) == 0, "the end of all")
        patient = small.with_options(max_retries=100)  # the client waits as Retry-After says
        with concurrent.futures.ThreadPoolExecutor(6) as pool:
            answers = pool.map(lambda _: patient.completions.create(prompt=PROMPT, max_tokens=64, **GREEDY),
                               range(6))
            self.assertEqual({complete(max_tokens=64).choices[0].text},
                             {answer.choices[0].text for answer in answers})


class Connection(unittest.TestCase):
    def test_abort(self):
        """A client that closes its stream frees its sequences: those that run, and those that wait."""
        stream = endless(n=32)  # which would never end
        for _ in range(3):
            next(stream)
        stream.close()
        wait(lambda: sequences(SMALL) == 0, "an end of the sequences")

    def test_raw_response(self):
        raw = client.chat.completions.with_raw_response.create(
            messages=[{"role": "user", "content": QUESTION}], **GREEDY)
        self.assertEqual(200, raw.http_response.status_code)
        self.assertTrue(raw.headers["content-type"].startswith("application/json"))
        self.assertTrue(raw.headers["x-request-id"])
        completion = raw.parse()
        self.assertEqual(raw.headers["x-request-id"], completion._request_id)
        self.assertEqual("chat.completion", completion.object)


if __name__ == "__main__":
    unittest.main()
