"""The program llm against phi3 serve with the built-in model. run.sh sets the environment."""

import json
import os
import pathlib
import subprocess
import tempfile
import unittest

MODELS = """\
- model_id: phi3
  model_name: phi3-demo
  api_base: {url}/v1
  api_key_name: phi3
- model_id: phi3-text
  model_name: phi3-demo
  api_base: {url}/v1
  api_key_name: phi3
  completion: true
"""
QUESTION, PROMPT = "What is the capital of France?", "The capital of Germany is"


class LLM(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.environment = dict(os.environ, LLM_USER_PATH=folder.name)
        pathlib.Path(folder.name, "extra-openai-models.yaml").write_text(
            MODELS.format(url=os.environ["PHI3_URL"]))
        pathlib.Path(folder.name, "keys.json").write_text(json.dumps({"phi3": os.environ["PHI3_KEY"]}))

    def llm(self, *words):
        return subprocess.check_output(["llm", *words, "-o", "temperature", "0"], text=True,
                                       env=self.environment, stdin=subprocess.DEVNULL, timeout=300)

    def generate(self, *words):
        return subprocess.check_output([os.environ["PHI3"], "generate", "-q", "--device", "cpu", *words],
                                       text=True)

    def test_chat(self):
        answer = self.generate("--chat", "--prompt", QUESTION).removeprefix(" ")
        self.assertEqual(answer, self.llm("-m", "phi3", QUESTION))
        self.assertTrue(self.llm("-c", "And of Italy?").strip())  # the conversation goes on

    def test_without_streaming(self):
        answer = self.generate("--chat", "--prompt", QUESTION).removeprefix(" ")
        self.assertEqual(answer, self.llm("-m", "phi3", "--no-stream", QUESTION))

    def test_completion(self):
        self.assertEqual(self.generate("--prompt", PROMPT), self.llm("-m", "phi3-text", PROMPT))


if __name__ == "__main__":
    unittest.main()
