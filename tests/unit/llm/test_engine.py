"""The engine against transformers' own sequential `generate`, on a small random Llama."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM

from vitron.llm.cache import PrefixCache
from vitron.llm.engine import (
    Engine,
    EngineConfig,
    EngineFullError,
    EngineStoppedError,
    EngineThread,
    GenerationRequest,
    GenerationResult,
    SamplingParams,
    TokenEvent,
)
from vitron.llm.sampling import Sampler, keep_top_p

VOCAB, WIDTH, EOS, NUM_NEW = 200, 64, 7, 24
SYSTEM_PROMPT = tuple(range(40, 80))


@pytest.fixture(scope="module", autouse=True)
def single_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def model() -> LlamaForCausalLM:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=VOCAB,
        hidden_size=WIDTH,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=256,
        bos_token_id=1,
        eos_token_id=EOS,
        pad_token_id=EOS,
        # Large weights, so that random replies neither repeat one token nor have close ties.
        initializer_range=0.2,
    )
    return LlamaForCausalLM(config).eval()


def make_prompts() -> list[tuple[int, ...]]:
    """24 prompts of 5 to 90 positions; every second one starts with the system prompt."""
    generator = torch.Generator().manual_seed(1)
    prompts = []
    for i, length in enumerate(torch.linspace(5, 90, 24).int().tolist()):
        ids = tuple(torch.randint(8, VOCAB, (length,), generator=generator).tolist())
        prompts.append((SYSTEM_PROMPT + ids)[:length] if i % 2 else ids)
    return prompts


@pytest.fixture(scope="module")
def expected(model: LlamaForCausalLM) -> list[list[int]]:
    replies = []
    for prompt in make_prompts():
        embeds = embed(model, prompt)[None]
        mask = torch.ones(embeds.shape[:2], dtype=torch.long)
        reply = model.generate(inputs_embeds=embeds, attention_mask=mask, max_new_tokens=NUM_NEW, do_sample=False)
        replies.append(reply[0].tolist())
    return replies


def embed(model: LlamaForCausalLM, ids: Sequence[int]) -> Tensor:
    return model.model.embed_tokens(torch.tensor(ids)).detach()


def request(
    model: LlamaForCausalLM, name: str, ids: Sequence[int], *, keyed: bool = True, **options: Any
) -> GenerationRequest:
    capture = options.pop("capture", frozenset())
    return GenerationRequest(
        request_id=name,
        inputs_embeds=embed(model, ids),
        params=SamplingParams(**{"max_tokens": NUM_NEW, **options}),
        capture_token_ids=frozenset(capture),
        prefix_key=tuple(ids) if keyed else None,
    )


def make_engine(model: LlamaForCausalLM, **options: Any) -> Engine:
    config = EngineConfig(**{"max_slots": 4, "max_length": 160, "prefill_chunk": 16, **options})
    return Engine(model, config, eos_token_id=EOS)


def run(
    engine: Engine,
    arrivals: Sequence[tuple[int, GenerationRequest]],
    on_step: Callable[[int], None] = lambda step: None,
) -> dict[str, GenerationResult]:
    """Step the engine to the end, submitting each request at its step; check the events."""
    pending, results, streamed = list(arrivals), {}, {}
    step = 0
    while pending or engine.has_work:
        while pending and pending[0][0] <= step:
            engine.submit(pending.pop(0)[1])
        on_step(step)
        for name, event in engine.step():
            if isinstance(event, TokenEvent):
                tokens = streamed.setdefault(name, [])
                assert event.index == len(tokens)
                tokens.append(event.token_id)
            else:
                assert name not in results
                results[name] = event
        assert 0 <= engine.num_running <= engine.config.max_slots
        step += 1
        assert step < 5000
    assert {n: r.token_ids for n, r in results.items()} == {n: streamed.get(n, []) for n in results}
    assert engine.num_free_slots == engine.config.max_slots
    return results


@pytest.mark.parametrize("cached", [False, True])
@pytest.mark.parametrize(("slots", "chunk"), [(1, 512), (4, 16), (8, 32)])
def test_replies_equal_sequential_generate(
    model: LlamaForCausalLM, expected: list[list[int]], slots: int, chunk: int, cached: bool
) -> None:
    engine = make_engine(model, max_slots=slots, prefill_chunk=chunk, prefix_cache_entries=8 if cached else 0)
    arrivals = [(3 * i, request(model, str(i), ids)) for i, ids in enumerate(make_prompts())]
    results = run(engine, arrivals)
    assert [results[str(i)].token_ids for i in range(24)] == expected
    assert len({tuple(reply) for reply in expected}) == 24
    reused = [results[str(i)].cached_tokens for i in range(24)]
    if cached:
        assert sum(tokens >= 16 for tokens in reused) >= 8
    else:
        assert sum(reused) == 0


def test_eager_attention_gives_the_same_replies(model: LlamaForCausalLM, expected: list[list[int]]) -> None:
    model.set_attn_implementation("eager")
    try:
        requests = [request(model, str(i), ids) for i, ids in enumerate(make_prompts()[:6])]
        results = make_engine(model).generate(requests)
    finally:
        model.set_attn_implementation("sdpa")
    assert [result.token_ids for result in results] == expected[:6]


def test_a_prompt_seen_before_is_computed_only_at_its_last_position(
    model: LlamaForCausalLM,
) -> None:
    engine = make_engine(model)
    [first] = engine.generate([request(model, "a", SYSTEM_PROMPT)])
    [again] = engine.generate([request(model, "b", SYSTEM_PROMPT)])
    [opted_out] = engine.generate([request(model, "c", SYSTEM_PROMPT, keyed=False)])
    assert (first.cached_tokens, again.cached_tokens) == (0, len(SYSTEM_PROMPT) - 1)
    assert opted_out.cached_tokens == 0
    assert first.token_ids == again.token_ids == opted_out.token_ids
    engine.clear_prefix_cache()
    assert engine.generate([request(model, "d", SYSTEM_PROMPT)])[0].cached_tokens == 0


def test_a_key_that_lies_about_the_embeddings_costs_a_miss_and_no_wrong_reply(
    model: LlamaForCausalLM,
) -> None:
    engine = make_engine(model)
    engine.generate([request(model, "a", SYSTEM_PROMPT)])
    other = SYSTEM_PROMPT[:20] + tuple(range(100, 120))
    lying = GenerationRequest(
        request_id="b",
        inputs_embeds=embed(model, other),
        params=SamplingParams(max_tokens=NUM_NEW),
        prefix_key=SYSTEM_PROMPT,
    )
    [result] = engine.generate([lying])
    [honest] = make_engine(model).generate([request(model, "c", other)])
    assert result.cached_tokens == 20
    assert result.token_ids == honest.token_ids


def test_the_prefix_cache_forgets_the_least_recently_used_prompt() -> None:
    cache = PrefixCache(2)
    prompts = [tuple(range(start, start + 20)) for start in (0, 100, 200)]
    embeds = [torch.full((20, 4), float(i)) for i in range(3)]
    for key, embed_TD in zip(prompts[:2], embeds, strict=False):
        cache.store(key, embed_TD, torch.zeros(1, 2, 1, 20, 4))
    assert cache.find(prompts[0], embeds[0]) is not None
    cache.store(prompts[2], embeds[2], torch.zeros(1, 2, 1, 20, 4))
    found = [cache.find(key, value) is not None for key, value in zip(prompts, embeds, strict=True)]
    assert found == [True, False, True]
    longer = (*prompts[0], 20)
    longer_embeds = torch.cat([embeds[0], torch.zeros(1, 4)])
    cache.store(longer, longer_embeds, torch.zeros(1, 2, 1, 21, 4))
    assert len(cache) == 2
    assert cache.covers(prompts[0], embeds[0])


@pytest.mark.parametrize("keyed", [False, True])
def test_captured_hidden_states_equal_a_full_recompute(
    model: LlamaForCausalLM, expected: list[list[int]], keyed: bool
) -> None:
    prompts = make_prompts()
    requests = [
        request(model, str(i), ids, keyed=keyed, capture=set(expected[i][::3])) for i, ids in enumerate(prompts)
    ]
    for prompt, item, result in zip(prompts, requests, make_engine(model).generate(requests), strict=True):
        with torch.no_grad():
            full = model.model(input_ids=torch.tensor([[*prompt, *result.token_ids]]))
        at = [i for i, t in enumerate(result.token_ids) if t in item.capture_token_ids]
        wanted = full.last_hidden_state[0, [len(prompt) + i for i in at]]
        assert result.hidden.shape == wanted.shape
        assert (result.hidden - wanted).abs().max() <= 1e-5


@pytest.mark.parametrize("max_tokens", [1, 4])
def test_a_captured_token_that_is_the_last_one_gets_its_hidden_state(
    model: LlamaForCausalLM, expected: list[list[int]], max_tokens: int
) -> None:
    prompt, reply = make_prompts()[5], expected[5][:max_tokens]
    item = request(model, "a", prompt, max_tokens=max_tokens, capture={reply[-1]})
    results = run(make_engine(model), [(0, item), (1, request(model, "b", make_prompts()[6]))])
    assert results["a"].token_ids == reply
    assert results["a"].finish_reason == "length"
    assert results["b"].token_ids == expected[6]
    with torch.no_grad():
        full = model.model(input_ids=torch.tensor([[*prompt, *reply]])).last_hidden_state[0, -1]
    assert (results["a"].hidden[-1] - full).abs().max() <= 1e-5
    assert not results["a"].hidden.is_inference()


def test_nothing_captured_gives_an_empty_hidden_tensor(model: LlamaForCausalLM) -> None:
    [result] = make_engine(model).generate([request(model, "a", SYSTEM_PROMPT)])
    assert result.hidden.shape == (0, WIDTH)
    assert result.prompt_tokens == len(SYSTEM_PROMPT)


def test_stop_tokens_and_full_slots_end_a_reply(model: LlamaForCausalLM, expected: list[list[int]]) -> None:
    prompt, reply = make_prompts()[9], expected[9]
    stop = reply[6]
    cut = reply[: reply.index(stop) + 1]
    engine = make_engine(model, max_length=len(prompt) + 3)
    [full] = engine.generate([request(model, "a", prompt)])
    assert (full.token_ids, full.finish_reason) == (reply[:3], "length")
    [stopped] = make_engine(model).generate([request(model, "b", prompt, stop_token_ids=(stop,))])
    assert (stopped.token_ids, stopped.finish_reason) == (cut, "stop")
    eos = Engine(model, EngineConfig(max_length=160), eos_token_id=stop)
    [ended] = eos.generate([request(model, "c", prompt, capture={stop})])
    assert (ended.token_ids, ended.finish_reason) == (cut, "stop")
    assert ended.hidden.shape == (1, WIDTH)


def test_padding_of_the_vocabulary_is_never_chosen(model: LlamaForCausalLM) -> None:
    engine = Engine(model, EngineConfig(max_length=160), eos_token_id=EOS, num_valid_tokens=20)
    requests = [
        request(model, "greedy", SYSTEM_PROMPT),
        request(model, "sampled", SYSTEM_PROMPT, temperature=5.0, seed=1),
    ]
    for result in engine.generate(requests):
        assert max(result.token_ids) < 20


def test_cancel_frees_the_slot_and_leaves_the_neighbours_alone(
    model: LlamaForCausalLM, expected: list[list[int]]
) -> None:
    engine = make_engine(model, max_slots=3)
    prompts = make_prompts()
    arrivals = [(0, request(model, str(i), prompts[i])) for i in (10, 12, 13, 17, 18)]

    def cancel_some(step: int) -> None:
        if step == 0:
            assert engine.cancel("18")  # waits
            assert not engine.cancel("nobody")
        if step == 1:
            assert engine.cancel("10")  # is being prefilled
        if step == 14:
            assert engine.cancel("12")  # decodes, in the first row

    results = run(engine, arrivals, cancel_some)
    assert [results[i].finish_reason for i in ("10", "12", "18")] == ["cancelled"] * 3
    assert results["18"].token_ids == results["10"].token_ids == []
    assert 0 < len(results["12"].token_ids) < NUM_NEW
    assert results["12"].token_ids == expected[12][: len(results["12"].token_ids)]
    assert results["13"].token_ids == expected[13]
    assert results["17"].token_ids == expected[17]
    assert not engine.cancel("12")


def test_a_seed_gives_the_same_text_whoever_the_neighbours_are(model: LlamaForCausalLM) -> None:
    sampled = {"temperature": 1.5, "top_p": 0.9}
    prompts = make_prompts()
    [alone] = make_engine(model).generate([request(model, "a", prompts[7], seed=3, **sampled)])
    crowd = [request(model, str(i), prompts[i], seed=i, **sampled) for i in range(6)]
    crowd.insert(3, request(model, "a", prompts[7], seed=3, **sampled))
    assert make_engine(model).generate(crowd)[3].token_ids == alone.token_ids
    [other] = make_engine(model).generate([request(model, "a", prompts[7], seed=4, **sampled)])
    assert other.token_ids != alone.token_ids


def test_sampling_follows_temperature_and_top_p() -> None:
    logits = torch.log(torch.tensor([0.5, 0.3, 0.15, 0.05]))
    params = SamplingParams(temperature=1.0, seed=0)
    sampler = Sampler(params)
    draws = torch.tensor([sampler.sample(logits) for _ in range(4000)])
    frequencies = torch.bincount(draws, minlength=4) / 4000
    assert (frequencies - logits.exp()).abs().max() < 0.03
    nucleus = Sampler(SamplingParams(temperature=1.0, top_p=0.7, seed=0))
    assert {nucleus.sample(logits) for _ in range(200)} == {0, 1}
    assert keep_top_p(torch.tensor([0.1, 0.6, 0.3]), 0.01).nonzero().tolist() == [[1]]
    cold = Sampler(SamplingParams(temperature=1e-6, seed=0))
    assert {cold.sample(logits) for _ in range(20)} == {0}


@pytest.mark.parametrize(
    ("field", "value"),
    [("max_tokens", 0), ("temperature", -1.0), ("temperature", float("nan")), ("top_p", 0.0)],
)
def test_sampling_params_out_of_range_are_refused(field: str, value: float) -> None:
    with pytest.raises(ValueError, match=field):
        SamplingParams(**{field: value})


def test_a_full_queue_refuses_and_serves_again_later(model: LlamaForCausalLM) -> None:
    engine = make_engine(model, max_waiting=2)
    engine.submit(request(model, "a", SYSTEM_PROMPT))
    engine.submit(request(model, "b", SYSTEM_PROMPT))
    with pytest.raises(EngineFullError, match="max_waiting is 2"):
        engine.submit(request(model, "c", SYSTEM_PROMPT))
    run(engine, [])
    many = [request(model, str(i), SYSTEM_PROMPT, max_tokens=2) for i in range(7)]
    assert len(engine.generate(many)) == 7


def test_requests_that_cannot_run_are_refused_with_the_reason(model: LlamaForCausalLM) -> None:
    engine = make_engine(model, max_length=32)
    with pytest.raises(ValueError, match=r"40 positions.*max_length = 32"):
        engine.submit(request(model, "long", SYSTEM_PROMPT))
    with pytest.raises(ValueError, match="8 wide, allowed: 64"):
        engine.submit(GenerationRequest(request_id="narrow", inputs_embeds=torch.zeros(4, 8), params=SamplingParams()))
    with pytest.raises(ValueError, match="prefix_key has 3 items"):
        GenerationRequest(
            request_id="key",
            inputs_embeds=torch.zeros(4, WIDTH),
            params=SamplingParams(),
            prefix_key=(1, 2, 3),
        )
    engine.submit(request(model, "twice", SYSTEM_PROMPT[:8]))
    with pytest.raises(ValueError, match="'twice'"):
        engine.submit(request(model, "twice", SYSTEM_PROMPT[:8]))
    with pytest.raises(ValueError, match="max_position_embeddings = 256"):
        make_engine(model, max_length=1024)


def collect(thread: EngineThread, item: GenerationRequest) -> queue.Queue[Any]:
    events: queue.Queue[Any] = queue.Queue()
    thread.submit(item, events.put)
    return events


def drain(events: queue.Queue[Any]) -> list[Any]:
    """Return a request's events up to its last one."""
    received = [events.get(timeout=20)]
    while isinstance(received[-1], TokenEvent):
        received.append(events.get(timeout=20))
    return received


def test_the_thread_streams_tokens_and_then_the_result(model: LlamaForCausalLM, expected: list[list[int]]) -> None:
    thread = EngineThread(make_engine(model))
    queues = [collect(thread, request(model, str(i), ids)) for i, ids in enumerate(make_prompts()[:6])]
    for i, events in enumerate(queues):
        *tokens, result = drain(events)
        assert [token.token_id for token in tokens] == result.token_ids == expected[i]
    thread.stop()
    assert not thread.healthy
    with pytest.raises(EngineStoppedError):
        thread.submit(request(model, "late", SYSTEM_PROMPT), lambda event: None)


def test_the_thread_cancels_and_survives_a_broken_callback(model: LlamaForCausalLM, expected: list[list[int]]) -> None:
    thread = EngineThread(make_engine(model))
    events: queue.Queue[Any] = queue.Queue()

    def cancel_at_third(event: Any) -> None:
        events.put(event)
        if isinstance(event, TokenEvent) and event.index == 2:
            assert thread.cancel("a")

    def broken(event: Any) -> None:
        raise RuntimeError("the client is gone")

    thread.submit(request(model, "a", make_prompts()[4]), cancel_at_third)
    thread.submit(request(model, "b", make_prompts()[5]), broken)
    neighbour = collect(thread, request(model, "c", make_prompts()[6]))
    *_, cancelled = drain(events)
    assert cancelled.finish_reason == "cancelled"
    assert cancelled.token_ids == expected[4][: len(cancelled.token_ids)]
    assert drain(neighbour)[-1].token_ids == expected[6]
    assert thread.healthy
    assert wait_until(lambda: not thread.engine.has_work)
    thread.stop()


def test_stopping_the_thread_tells_every_live_request(model: LlamaForCausalLM) -> None:
    engine = make_engine(model)
    thread = EngineThread(engine)
    hold = threading.Event()
    events: queue.Queue[Any] = queue.Queue()

    def slow(event: Any) -> None:
        events.put(event)
        hold.wait(timeout=20)

    thread.submit(request(model, "a", SYSTEM_PROMPT), slow)
    waiting = collect(thread, request(model, "b", SYSTEM_PROMPT))
    first = events.get(timeout=20)
    stopper = threading.Thread(target=thread.stop)
    stopper.start()
    assert wait_until(lambda: not thread.healthy)
    hold.set()
    stopper.join(timeout=20)
    assert isinstance(first, TokenEvent)
    assert isinstance(drain(waiting)[-1], EngineStoppedError)


def test_an_error_in_the_model_reaches_every_request(model: LlamaForCausalLM, monkeypatch: pytest.MonkeyPatch) -> None:
    thread = EngineThread(make_engine(model, max_slots=2))
    original, calls = model.model.forward, iter(range(1000))
    all_submitted = threading.Event()

    def failing(*args: Any, **kwargs: Any) -> Any:
        if next(calls) == 6:
            assert all_submitted.wait(20)  # a quick engine is here before the second request is
            raise RuntimeError("device lost")
        return original(*args, **kwargs)

    monkeypatch.setattr(model.model, "forward", failing)
    prompts = make_prompts()
    queues = [collect(thread, request(model, str(i), prompts[i])) for i in (20, 21, 22, 23)]
    all_submitted.set()
    for events in queues:
        last = drain(events)[-1]
        assert isinstance(last, RuntimeError)
        assert str(last) == "device lost"
    assert not thread.healthy
    assert str(thread.error) == "device lost"
    with pytest.raises(EngineStoppedError):
        thread.submit(request(model, "late", SYSTEM_PROMPT), lambda event: None)
    thread.stop()


def wait_until(condition: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + 20
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.005)
    return condition()
