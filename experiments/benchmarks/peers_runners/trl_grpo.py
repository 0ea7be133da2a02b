"""GRPO steps of TRL, one at a time as they are asked for; run by a Python that has trl and no ``jaxpsn``."""

from typing import Any

import datasets
import protocol
import transformers
import trl


class InTurns(transformers.TrainerCallback):
    """Waits before every step until it is asked for, and then says how many processor seconds it took."""

    def __init__(self, session: protocol.Answers) -> None:
        self._session = session

    def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Wait."""
        self._session.begin()

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Report."""
        self._session.end()


def main() -> None:
    """Train until nobody asks for more."""
    session = protocol.Answers()
    task = session.task
    config = trl.GRPOConfig(
        output_dir=task["out"],
        per_device_train_batch_size=task["problems"] * task["samples"],
        num_generations=task["samples"],
        max_completion_length=task["tokens"],
        generation_kwargs={"min_new_tokens": task["tokens"]},
        gradient_accumulation_steps=1,
        gradient_checkpointing=False,
        max_steps=100_000,
        learning_rate=1e-4,
        beta=0.0,
        logging_strategy="no",
        save_strategy="no",
        report_to=[],
        use_cpu=True,
        bf16=False,
        disable_tqdm=True,
    )
    model = transformers.AutoModelForCausalLM.from_pretrained(task["folder"])
    trainer = trl.GRPOTrainer(
        model,
        reward_funcs=protocol.even,
        args=config,
        train_dataset=datasets.Dataset.from_list([{"prompt": prompt} for prompt in task["prompts"]]),
        processing_class=transformers.AutoTokenizer.from_pretrained(task["folder"], padding_side="left"),
        callbacks=[InTurns(session)],
    )
    trainer.train()


if __name__ == "__main__":
    main()
