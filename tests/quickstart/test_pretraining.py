import pytest
import torch
from transformers import PreTrainedTokenizerFast

from phi_assets.quickstart.build_base_model import DESTINATION
from phi_assets.quickstart.markup import END_ID, MARKUP, PAD_ID
from phi_assets.quickstart.pretraining import Plan, new_model, train

EMBEDDING = "model.embed_tokens.weight"
PLAN = Plan(steps=6, tokens_per_step=300, warm_up=2)


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerFast:
    return PreTrainedTokenizerFast.from_pretrained(DESTINATION / "data" / "tokenizer")


def trained(tokenizer):
    torch.set_num_threads(1)
    model, losses = new_model(tokenizer, 1), []
    train(model, tokenizer, PLAN, 1, lambda step, loss: losses.append(loss))
    return model, losses


def test_the_same_seed_trains_the_same_model(tokenizer):
    (one, losses), (other, same_losses) = trained(tokenizer), trained(tokenizer)
    assert losses == same_losses
    assert losses[-1] < losses[0]
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))
    assert not torch.equal(
        new_model(tokenizer, 2).get_parameter(EMBEDDING), new_model(tokenizer, 1).get_parameter(EMBEDDING)
    )


def test_markup_keeps_its_first_direction(tokenizer):
    before = new_model(tokenizer, 1).get_parameter(EMBEDDING)
    after = trained(tokenizer)[0].get_parameter(EMBEDDING)
    for token in range(len(MARKUP)):
        similarity = torch.cosine_similarity(before[token], after[token], dim=0).item()
        # Padding is a row of zeros; the end of a text is written and so learned.
        assert similarity == pytest.approx({PAD_ID: 0}.get(token, 1), abs=1e-6) or token == END_ID
    assert torch.isfinite(after).all()


def test_a_loss_that_is_no_number_stops_the_training(tokenizer):
    model = new_model(tokenizer, 1)
    with torch.no_grad():
        model.get_parameter(EMBEDDING)[50] = float("nan")
    with pytest.raises(FloatingPointError, match="at step 0"):
        train(model, tokenizer, PLAN, 1, lambda step, loss: None)


def test_the_schedule_warms_up_falls_and_adds_question_sheets():
    plan = Plan(steps=1000)
    factors = [plan.factor(step) for step in range(plan.steps)]
    assert max(factors) == pytest.approx(1, abs=0.05)
    assert factors.index(max(factors)) == plan.warm_up - 1
    assert factors[-1] == pytest.approx(0.02, abs=0.001)
    assert plan.shares(499)["sheet_share"] == 0
    assert plan.shares(500)["sheet_share"] == plan.sheet_share
