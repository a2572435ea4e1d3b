"""A gateway that routes by a certified plan: LiteLLM's Router, with three providers on loopback.

LiteLLM asks a strategy which deployment serves a request. `PolicyStrategy` predicts the request's
outcomes, lets the policy of a plan decide, and reports what it really cost. Providers here are
stubs that answer on this machine: nothing leaves it. Needs litellm (pip install litellm); all data
are simulated.

    python examples/litellm_router.py [REQUESTS]
"""

import asyncio
import json
import os
import sys
import threading
import time
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np

from dualroute import Budget, Capacity, Policy, solve
from dualroute.predictors.retrieval import Retrieval
from dualroute.workload import simulate

MODELS = ("gemini-1.5-flash", "gpt-4o-mini-2024-07-18", "gpt-4o-2024-08-06")
GROUP = "pool"  # the name that clients ask for


class PolicyStrategy:
    """What LiteLLM's Router asks for a deployment; `settle` tells it what a request cost."""

    def __init__(self, router, predictor, policy):
        # Later versions of litellm name the list otherwise.
        entries = router.registry().all() if hasattr(router, "registry") else router.model_list
        self._deployments = {
            entry["litellm_params"]["model"].partition("/")[2]: entry for entry in entries
        }
        self._predictor, self._columns = predictor, policy.columns
        self._stream = policy.start(MODELS)
        self._pending = {}
        self._lock = threading.Lock()
        self.seconds = []

    @property
    def limits(self):
        """Use and what is left of every limit."""
        return self._stream.to_dict()["limits"]

    def get_available_deployment(
        self,
        model,
        messages=None,
        input=None,  # noqa: A002 - its name
        specific_deployment=False,
        request_kwargs=None,
    ):
        """The deployment that the policy chooses for a request."""
        text = messages[-1]["content"] if messages else str(input)
        predicted = self._predictor.predict([text])
        told = {name: predicted.column(name)[0] for name in self._columns}
        with self._lock:
            started = time.perf_counter()
            decision = self._stream.route(told)
            self.seconds.append(time.perf_counter() - started)
            self._pending.setdefault(text, []).append((decision, told))
        return self._deployments[decision.name]

    async def async_get_available_deployment(
        self,
        model,
        messages=None,
        input=None,  # noqa: A002 - its name
        specific_deployment=False,
        request_kwargs=None,
    ):
        """The same, for asynchronous requests."""
        return self.get_available_deployment(model, messages, input)

    def settle(self, text, cost):
        """Correct what was booked for a request by what it cost."""
        with self._lock:
            decision, told = self._pending[text].pop()
            seen = {name: float(values[decision.model]) for name, values in told.items()}
            self._stream.observe(decision, seen | {"cost": cost})

    def down(self, model):
        """Take a model out, as when its provider fails; `up` brings it back."""
        with self._lock:
            self._stream.down(model)

    def up(self, model):
        """Bring a model back."""
        with self._lock:
            self._stream.up(model)


class Provider(BaseHTTPRequestHandler):
    """Answers like an OpenAI-style endpoint, with the model's name as its text."""

    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        body = json.dumps({
            "id": "stub", "object": "chat.completion", "created": 0, "model": asked["model"],
            "choices": [{"index": 0, "finish_reason": "stop",
                         "message": {"role": "assistant", "content": asked["model"]}}],
            "usage": {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15},
        }).encode()  # fmt: skip
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        """Say nothing."""


def main() -> None:
    os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # no look at the network
    try:
        from litellm import Router
    except ImportError:
        sys.exit("litellm is not installed; pip install litellm")
    requests = int(sys.argv[1]) if len(sys.argv) > 1 else 60
    log, today = simulate(2000, seed=1, models=MODELS), simulate(requests, seed=2, models=MODELS)
    predictor = Retrieval().fit(log.texts, log.outcomes)
    predicted = predictor.predict(log.texts[:1000])
    budget = 0.3 * predicted.column("cost")[:, 2].sum()  # a third of the dearest for all
    plan = solve(predicted, maximize="quality", limits=[Budget(budget), Capacity(500)])
    print(f"plan of 1000 logged queries: {plan.certificate.verdict}")

    server = ThreadingHTTPServer(("127.0.0.1", 0), Provider)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    base = f"http://127.0.0.1:{server.server_port}/v1"
    router = Router(model_list=[
        {"model_name": GROUP, "litellm_params":
            {"model": f"openai/{name}", "api_base": base, "api_key": "none"}}
        for name in MODELS
    ])  # fmt: skip
    strategy = PolicyStrategy(router, predictor, Policy.of(plan, horizon=requests))
    if hasattr(router, "register_plugin"):  # what later versions call it
        router.register_plugin(strategy)
    else:
        router.set_custom_routing_strategy(strategy)

    served = Counter()

    async def ask(i):
        messages = [{"role": "user", "content": today.texts[i]}]
        answer = await router.acompletion(model=GROUP, messages=messages)
        name = answer.choices[0].message.content
        served[name] += 1
        cost = today.outcomes.column("cost")[i, MODELS.index(name)]
        strategy.settle(today.texts[i], float(cost))

    async def stream():
        for i in range(requests):
            if i == requests // 2:
                strategy.down(MODELS[1])
            await ask(i)

    asyncio.run(stream())
    server.shutdown()
    for name, count in served.most_common():
        print(f"{name:28}{count:5}")
    for line in strategy.limits:
        print(f"{line['name']:10} {line.get('model', line.get('pool', '')):28}"
              f" used {line['use']:.4g} of {line['limit']:.4g}")  # fmt: skip
    print(f"decision: median {1e6 * np.median(strategy.seconds):.0f} microseconds; "
          f"{MODELS[1]} was down in the second half")  # fmt: skip


if __name__ == "__main__":
    main()
