"""The command that compiles for an accelerator: what it refuses, how it counts, and what it leaves."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import pytest
from benchmarks import command, compile, homes
from benchmarks.compile_options import Compile
from benchmarks.compiler import compiling, control, counts, hlo, targets

from jaxpsn.core.errors import UserError
from jaxpsn.run import exported

TEXTS = Path(__file__).parent / "hlo"


def text(name):
    return (TEXTS / f"{name}.txt").read_text()


@pytest.mark.parametrize(
    "line, said",
    [
        ("compile --target h20", "nearest: h200"),
        ("compile --target v5e:2x2x2", "v5e:AxB"),
        ("compile --target h200:none", "h200:8"),
        ("compile rl --target h200", "control, rlvr"),
        ("compile --target h200 --preset smke", "nearest: smoke"),
        ("compile --target h200 --nonsense 1", "unknown"),
        ("compile --target h200 --structures flipot", "nearest: flipout"),
        ("compile rlvr --target h200 --preset default --rollout.promts 4", "rollout.prompts"),
        ("compile --target h200 --calls 1", "calls"),
        ("compile --target h200 --programs stepp", "nearest: step"),
        ("compile rlvr --target h200 --preset smoke --against gaussian", "structures"),
        ("compile rlvr --target h200 --programs acting", "nearest: decoding"),
        ("compile rlvr --target h200 --shape qwen2.5-7", "nearest: qwen2.5-7b"),
        ("compile rlvr --target h200 --shape qwen2.5-7b", "rollout.max_prompt"),
        ("compile --target h200 --shape qwen2.5-7b", "only rlvr has a decoder"),
    ],
)
def test_what_cannot_be_compiled_is_refused_in_one_line(line, said):
    with pytest.raises(UserError) as caught:
        command.parse(line.split())
    assert said in str(caught.value) and "\n" not in str(caught.value)


def test_flags_of_the_script_and_of_the_command_stand_side_by_side():
    line = "control --preset smoke --target v5e:2x2 --env.num-envs 8 --mesh data=2 --structures flipout dense"
    made = command.parse(["compile", *line.split()])
    assert (made.target, made.structures, made.mesh, made.stem) == (
        "v5e:2x2", ("flipout", "dense"), "data=2", "compile-control-v5e-2x2",
    )  # fmt: skip
    assert made.job().control.env.num_envs == 8


def test_a_mesh_larger_than_the_target_is_refused_before_anything_is_installed(monkeypatch):
    monkeypatch.setattr(compile, "compiler", lambda target: pytest.fail("too late"))
    for target, most in (("h200", "h200:8"), ("v5e:2x2", "v5p:4x4x4")):
        with pytest.raises(UserError, match=f"mesh = 8 devices.*{most}"):
            compile.table(Compile(target=target, flags=("--preset", "smoke", "--mesh", "data=8")))


def test_a_compiler_that_cannot_be_installed_says_what_it_wants(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    failing = [sys.executable, "-c", "import sys; sys.exit('no such index')"]
    monkeypatch.setattr(homes, "commands", lambda *given: [failing])
    with pytest.raises(UserError, match=r"no such index; it wants .*jax\[cuda13\]==") as caught:
        compile.compiler(targets.parse("h100"))
    assert "\n" not in str(caught.value)


def test_the_worker_runs_beside_the_packages_of_this_environment(monkeypatch):
    monkeypatch.setenv("XLA_FLAGS", "--xla_dump_to=x")
    found = compile.environment(targets.parse("h200"))
    assert found["JAX_PLATFORMS"] == "cpu" and found["XLA_FLAGS"] == "--xla_dump_to=x --xla_gpu_autotune_level=0"
    assert "TPU_WORKER_ID" in compile.environment(targets.parse("v5e:2x2"))
    code = "import jaxpsn, benchmarks.compiler, jax; print(jax.__version__)"
    done = subprocess.run([sys.executable, "-c", code], env=found, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_what_was_compiled_of_the_same_sources_is_not_compiled_again(monkeypatch, tmp_path):
    worked, target = [], targets.parse("h200")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv(exported.SWITCH, raising=False)
    monkeypatch.setattr(compile, "compiler", lambda target: tmp_path / "bin" / "python")
    monkeypatch.setattr(compile, "_worked", lambda told, *_: worked.append(told) or [{"kernels": len(worked)}])

    def found(*flags):
        return compile.compiled(Compile(target="h200", flags=("--preset", "smoke", *flags)), target)[0]["kernels"]

    assert [found(), found(), found("--seed", "1"), found(), found("--seed", "1")] == [1, 1, 2, 1, 2]
    (mine := tmp_path / "mine.py").touch()
    assert [found(*flags) for flags in (("--plugin", str(mine)), (f"--plugin={mine}",))] == [3, 4]
    with monkeypatch.context() as patch:
        patch.setenv("XLA_FLAGS", "--xla_gpu_autotune_level=1")
        assert found() == 5
    with monkeypatch.context() as patch:
        patch.setattr(exported, "_digest", lambda *_: "other sources")
        assert found() == 6
    with monkeypatch.context() as patch:
        patch.setenv(exported.SWITCH, "0")
        assert found() == 7
    (kept,) = [path for path in (tmp_path / "jaxpsn" / "compilers" / "rows").iterdir() if '": 1}' in path.read_text()]
    kept.write_text("[{")
    assert found() == 8


def test_targets_know_their_chips():
    four, slice_ = targets.parse("h100:4"), targets.parse("v5p:2x2x2")
    assert (four.devices, four.platform, four.topology) == (4, "cuda", "1x1x4")
    assert (slice_.devices, slice_.platform, slice_.topology) == (8, "tpu", "v5p:2x2x2")
    assert targets.parse("h200").memory > targets.parse("h100").memory
    assert 'device_description_str: "NVIDIA H100"' in targets.description(four)


def test_a_prediction_is_of_what_takes_longest_and_of_waits():
    one = targets.parse("h200")
    assert one.predicted(1000, 0, 1, 1) == pytest.approx(1000 * one.launch)
    assert one.predicted(1, 2, 4.8e12, 1) == pytest.approx(1 + 2 * one.wait)
    assert one.predicted(1, 0, 0, 9.89e14) == pytest.approx(1) and "not measured" in one.assumptions


SMALL = """HloModule small, is_scheduled=true, input_output_alias={ {0}: (0, {}, may-alias), {1}: (1, {}, must-alias) }

%fused_write (p0: f32[100,4], p1: f32[4], p2: s32[]) -> f32[100,4] {
  %p0 = f32[100,4]{1,0} parameter(0)
  %p1 = f32[4]{0} parameter(1)
  %row = f32[1,4]{1,0} bitcast(%p1)
  %p2 = s32[] parameter(2)
  %zero = s32[] constant(0)
  ROOT %put = f32[100,4]{1,0} dynamic-update-slice(%p0, %row, %p2, %zero)
}

%fused_read (p0.1: f32[100,4], p1.1: s32[]) -> f32[4] {
  %p0.1 = f32[100,4]{1,0} parameter(0)
  %p1.1 = s32[] parameter(1)
  %zero.1 = s32[] constant(0)
  %cut = f32[1,4]{1,0} dynamic-slice(%p0.1, %p1.1, %zero.1), dynamic_slice_sizes={1,4}
  ROOT %flat = f32[4]{0} bitcast(%cut)
}

ENTRY %main (a: f32[100,4], b: s32[]) -> (f32[100,4], /*index=1*/s32[]) {
  %a = f32[100,4]{1,0:T(8,128)} parameter(0)
  %b = s32[] parameter(1)
  %got = f32[4]{0} fusion(%a, %b), kind=kLoop, calls=%fused_read, metadata={op_name="jit(f)/vmap(jvp(look))/slice"}
  %pair = (f32[4]{0}, /*index=1*/f32[8]{0}) all-reduce-start(%got, %got), to_apply=%sum
  %copied = s32[] copy(%b)
  %set = f32[100,4]{1,0} fusion(%a, %got, %b), kind=kLoop, calls=%fused_write, metadata={op_name="jit(f)/put(x)/look"}
  ROOT %out = (f32[100,4]{1,0}, /*index=1*/s32[]) tuple(%set, %copied)
}
"""


def test_slices_and_updates_in_place_move_what_they_touch():
    module = hlo.parse(SMALL)
    found = counts.Program(module, ["look"]).entry()
    assert module.aliased == 2 and module.entry.instructions["pair"].bytes == 48
    # The row that is read and the index; then the row that is written, once as operand and once as result.
    assert found["look"].kernels == 2 and found["look"].bytes == (16 + 4 + 16) + (16 + 4 + 16)
    assert found["other"].collectives == {"all-reduce": 1} and found["other"].collective_bytes == 48
    assert counts.total(found).kernels == 4 and counts.arrays(SMALL) == {(100, 4), (), (4,), (8,)}


def test_loops_and_branches_of_a_gpu_program_are_counted_along_the_dearest_branch():
    """Five turns of ``cond(sum(x) > 0, tanh(x @ x), x)`` on 256 x 256 numbers, as XLA made them for an H200."""
    program = counts.count(text("h200_loop"))
    turn, whole = counts.total(program.loop(5)), counts.total(program.entry())
    # Two sums, a comparison, the product and its tanh, a copy, the counter.
    assert (turn.kernels, turn.waits, turn.flops) == (7, 1, 2 * 256**3)
    assert whole.kernels == 5 * turn.kernels + 1 and whole.waits == 5 and whole.flops == 5 * turn.flops
    assert program.loop(7) is None and hlo.parse(text("h200_loop")).aliased == 1
    assert (256, 256) in counts.arrays(text("h200_loop"))


def test_a_tpu_program_tells_the_length_of_its_loops_by_their_conditions():
    """Five turns of ``tanh(x @ x)`` and a branch that sorts, then a loop until a sum is 9; 64 x 64 numbers, a v5e."""
    program = counts.count(text("v5e_loop"), ["mix", "choose"])
    turn, whole = program.loop(5), program.entry()
    assert turn["mix"].flops == 2 * 64**3 and turn["choose"].waits == 1 and turn["choose"].kernels >= 2
    assert whole["mix"].flops == 5 * turn["mix"].flops and whole["choose"].kernels == 5 * turn["choose"].kernels
    # The loop of unknown length counts once, and is waited for.
    assert whole["other"].waits == 1 and whole["other"].flops == 2 * 64**3


@pytest.mark.parametrize("name", ["h200_mesh", "v5e_mesh"])
def test_over_four_devices_means_are_summed(name):
    """The mean over 256 rows of ``tanh(x @ w)``, 64 rows on each of four devices, 32 columns."""
    whole = counts.total(counts.count(text(name)).entry())
    assert whole.collectives == {"all-reduce": 1} and whole.collective_bytes == 4 * 32
    assert whole.flops == 2 * 64 * 64 * 32 and (64, 64) in counts.arrays(text(name))


def test_what_is_no_program_is_refused():
    with pytest.raises(ValueError, match="ENTRY"):
        hlo.parse("%half (a: f32[2]) -> f32[2] {\n")


def test_sizes_of_types():
    sizes = {
        "f32[2,3]{1,0}": 24,
        "(bf16[4], /*index=1*/pred[])": 9,
        "s4[8]": 8,
        "c64[2]": 16,
        "f8e4m3fn[3]": 3,
        "u32[]": 4,
    }
    assert {kind: hlo.size(kind) for kind in sizes} == sizes


@pytest.fixture
def compiler(monkeypatch):
    """One that compiles for this machine in place of an accelerator."""
    monkeypatch.setattr(compiling, "_topology", lambda target: SimpleNamespace(devices=jax.devices()))
    return compiling.Compiler(replace(targets.parse("h200"), platform="cpu"))


def test_a_program_leaves_a_row_of_what_it_needs(compiler):
    shape = jax.ShapeDtypeStruct((16, 16), jnp.float32)
    made = compiler.compile("it", lambda x, y: x + x @ y, (shape, shape), None, donate_argnums=0)
    compiler.add("it", "none", made, counts.count(made.text).entry(), steps=3)
    (row,) = compiler.rows
    assert made.aliased == 1024 and made.arguments == 2048 and row["needed_bytes"] == made.needed >= 2048
    assert row["fits"] and row["kernels"] >= 1 and row["largest_array"] == 256 and row["steps"] == 3
    assert row["flops"] == 2 * 16**3 and row["predicted_seconds"] > 0


def test_what_does_not_fit_is_told_in_one_line_by_its_fields(compiler):
    def large(x):
        raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Ran out of memory in memory space hbm. Used 20.00G\nmore")

    with pytest.raises(UserError, match=r"out of memory.*lower env\.num_envs") as caught:
        compiler.compile("it", large, (jax.ShapeDtypeStruct((2,), jnp.float32),), None, fields="env.num_envs")
    assert "\n" not in str(caught.value)


def test_acting_stands_beside_acting_without_noise(compiler, capsys):
    options = Compile(flags=("--preset", "smoke"), structures=("dense",), programs=("acting",))
    control.compile_all(compiler, options)
    found = {row["arm"]: row for row in compiler.rows}
    assert list(found) == ["none", "parameter", "dense"] and all(row["fits"] for row in found.values())
    assert found["parameter"]["kernels"] > found["none"]["kernels"]
    compile.show(compiler.rows, compiler.target.assumptions)
    told = capsys.readouterr().out
    assert "acting, dense" in told and "not measured" in told


def test_as_many_environments_fit_as_their_state_and_temporaries_leave_room_for(compiler):
    job = Compile(flags=("--preset", "smoke")).job()
    count = job.control.env.num_envs
    env = replace(job.control.env, num_envs=4 * count)  # replay has as many rows then
    four = control.Programs(compiler, replace(job, control=replace(job.control, env=env)), 2)
    memory = compiling.bytes_of(four.state) + 4 * count * 8
    compiler.target = replace(compiler.target, memory=memory)
    made = control.Programs(compiler, job, 2)
    found = control.bound(compiler, job, made, compiling.Compiled("", 0, 0, count * 8, 0, 1.0))
    assert found["num_envs"] == count and found["largest_num_envs"] == 4 * count
