"""GRPO steps of TRL, one at a time as they are asked for; run by a Python that has trl and no ``jaxpsn``."""

import json
import os
import resource
import sys
import time
from typing import Any

import datasets
import transformers
import trl

GO = "go"


class InTurns(transformers.TrainerCallback):
    """Waits before every step until it is asked for, and then says how many processor seconds it took."""

    def __init__(self) -> None:
        self._out = os.fdopen(int(sys.argv[2]), "w", encoding="utf-8")
        self._begun = 0.0

    def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Wait."""
        if sys.stdin.readline().strip() != GO:
            os._exit(0)
        self._begun = time.process_time()

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Report."""
        seconds = time.process_time() - self._begun
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        told = {"steps": 1, "updates": 1, "seconds": seconds, "return": 0.0, "compile_seconds": 0.0}
        print(json.dumps(told | {"peak_bytes": peak}), file=self._out, flush=True)


def even(completions: list[str], **_: Any) -> list[float]:
    """1 for texts whose digits add up to an even number."""
    return [float(sum(map(int, filter(str.isdigit, text))) % 2 == 0) for text in completions]


def main() -> None:
    """Train until nobody asks for more."""
    task = json.loads(sys.argv[1])
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
        reward_funcs=even,
        args=config,
        train_dataset=datasets.Dataset.from_list([{"prompt": prompt} for prompt in task["prompts"]]),
        processing_class=transformers.AutoTokenizer.from_pretrained(task["folder"], padding_side="left"),
        callbacks=[InTurns()],
    )
    trainer.train()


if __name__ == "__main__":
    main()
