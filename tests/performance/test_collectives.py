"""What a program sends between devices: by hand, and of programs that are compiled for eight."""

import json
import sys

import pytest

from mmgen_jax.performance.collectives import traffic
from tests.layouts import LAYOUTS, finish, start

FUSED = """
%all-reduce-scatter.1 (input: bf16[384,64]) -> bf16[48,64] {
  %input = bf16[384,64]{1,0} parameter(0)
  %all-reduce.5 = bf16[384,64]{1,0} all-reduce(%input), channel_id=1, replica_groups={{0,1,2,3,4,5,6,7}}, to_apply=%add
  ROOT %cut = bf16[48,64]{1,0} dynamic-slice(%all-reduce.5, %i, %j), dynamic_slice_sizes={48,64}
}

%part.1 (p: f32[2,16]) -> f32[16,16] {
  ROOT %all-gather.1 = f32[16,16]{1,0} all-gather(%p), channel_id=7, replica_groups=mesh['axis_0'=8] {'axis_0'}, dimensions={0}, frontend_attributes={chain_id="3"}
}

%part.2 (p: f32[2,16]) -> f32[16,16] {
  ROOT %all-gather.2 = f32[16,16]{1,0} all-gather(%p), channel_id=7, replica_groups=mesh['axis_0'=8] {'axis_0'}, dimensions={0}, frontend_attributes={chain_id="3"}
}

%cond (p: (s32[], f32[4])) -> pred[] {
  %limit = s32[]{:T(128)} constant(12)
  %p = (s32[], f32[4]{0}) parameter(0)
  %i = s32[] get-tuple-element(%p), index=0
  ROOT %lt = pred[]{:T(512)} compare(%i, %limit), direction=LT
}

%body (p: (s32[], f32[4])) -> (s32[], f32[4]) {
  %gather = (f32[1,4]{1,0}, f32[4,4]{1,0}) all-gather-start(%x), channel_id=9, replica_groups=[2,4]<=[8], dimensions={0}
  %done = f32[4,4]{1,0} all-gather-done(%gather)
  %move = (bf16[14,2]{1,0}, bf16[14,2]{1,0}, u32[], u32[]) collective-permute-start(%y), channel_id=1, source_target_pairs={{0,1},{1,0}}
  %i.2 = s32[] get-tuple-element(%q), index=0
  %step = s32[]{:T(128)} constant(1)
  %next.2 = s32[] add(%i.2, %step)
  ROOT %t = (s32[], f32[4]{0}) tuple(%next.2, %x)
}

%cond.2 (p: (f32[4], u32[])) -> pred[] {
  %limit = u32[]{:T(128)} constant(8)
  %p = (f32[4]{0}, u32[]) parameter(0)
  %i = u32[] get-tuple-element(%p), index=1
  ROOT %lt = pred[]{:T(512)} compare(%i, %limit), direction=LT
}

%body.2 (p: (f32[4], u32[])) -> (f32[4], u32[]) {
  %two = u32[] constant(2)
  %i = u32[] get-tuple-element(%p), index=1
  %x = f32[4]{0} get-tuple-element(%p), index=0
  %next = u32[]{:T(128)} add(%i, %two)
  %exchange = f32[8]{0} all-to-all(%x), channel_id=5, replica_groups={{0,1},{2,3},{4,5},{6,7}}
  ROOT %t = (f32[4]{0}, /*index=1*/u32[]{:T(128)}) tuple(%x, /*index=1*/%next)
}

ENTRY %main.1 (a: f32[4]) -> f32[4] {
  %f = bf16[48,64]{1,0} fusion(%a), kind=kOutput, calls=%all-reduce-scatter.1
  %g = f32[16,16]{1,0} fusion(%a), kind=kLoop, calls=%part.1
  %h = f32[16,16]{1,0} fusion(%a), kind=kLoop, calls=%part.2
  %zero = s32[]{:T(128)} constant(0)
  %tuple = (s32[], f32[4]{0}) tuple(%zero, %a)
  %w = (s32[], f32[4]{0}) while(%tuple), condition=%cond, body=%body
  %one = u32[]{:T(128)} constant(1)
  %begin = u32[]{:T(128)} copy(%one)
  %initial = (f32[4]{0}, /*index=1*/u32[]{:T(128)}) tuple(%a, %begin)
  %v = (f32[4]{0}, /*index=1*/u32[]{:T(128)}) while(%initial), condition=%cond.2, body=%body.2
  ROOT %sum = (f32[4]{0}, f32[8]{0}) all-reduce(%a, %b), channel_id=2, replica_groups={{0,1},{2,3},{4,5},{6,7}}, to_apply=%add
}
"""  # noqa: E501, as compilers write


def test_programs_of_tpus_by_hand():
    """A scatter that is fused, one gather in two fusions, loops that run 12 and 4 times."""
    found = {kind: tuple(sent) for kind, sent in traffic(FUSED, 8).items()}
    assert found == {
        "all-gather": (1 + 12, 16 * 16 * 4 * 7 // 8 + 12 * (4 * 4 * 4 * 3 // 4)),
        "all-reduce": (1, (4 + 8) * 4),  # twice a half of it
        "all-to-all": (4, 4 * (8 * 4 // 2)),  # of 1, 3, 5 and 7
        "collective-permute": (12, 12 * 14 * 2 * 2),
        "reduce-scatter": (1, 384 * 64 * 2 * 7 // 8),
    }


def test_a_loop_without_a_length_is_refused():
    unknown = FUSED.replace("s32[]{:T(128)} constant(12)", "s32[] get-tuple-element(%p), index=1")
    with pytest.raises(ValueError, match="how often the loop body runs does not stand"):
        traffic(unknown, 8)


def test_a_program_for_eight_devices():
    """Its collectives are known: it is written for each device's share."""
    (done,) = finish(start(LAYOUTS["data"], "-m", __name__))
    assert done.code == 0, done.err
    rows = 8 * 32 * 4  # bytes of what is whole
    assert json.loads(done.out.splitlines()[-1]) == {
        "all-gather": [5, 5 * rows * 7 // 8],
        "all-reduce": [2, 2 * 2 * 4 * 3 // 4],
        "collective-permute": [1, rows // 8],
        "reduce-scatter": [5, 5 * rows * 7 // 8],
    }


@pytest.mark.parametrize(
    ("known", "unknown"),
    [
        ("%lt = pred[]{:T(512)} compare(%i, %limit), direction=LT", "%lt = pred[] fusion(%i)"),
        ("%limit = u32[]{:T(128)} constant(8)", "%limit = u32[] parameter(1)"),
        ("%one = u32[]{:T(128)} constant(1)", "%one = u32[] parameter(1)"),
        ("%next = u32[]{:T(128)} add(%i, %two)", "%next = u32[] fusion(%i)"),
    ],
)
def test_a_loop_of_unknown_length_is_refused(known, unknown):
    head, found, rest = FUSED.rpartition(known)
    assert found
    with pytest.raises(ValueError, match=r"how often the loop body(\.2)? runs does not stand"):
        traffic(head + unknown + rest, 8)


def compile_known_program():
    import jax
    import jax.numpy as jnp
    from jax.sharding import PartitionSpec

    mesh = jax.make_mesh((2, 4), ("a", "b"), (jax.sharding.AxisType.Auto,) * 2)

    def share(x):
        def layer(x, _):
            whole = jax.lax.all_gather(x, ("a", "b"), tiled=True)
            return jax.lax.psum_scatter(jnp.sin(whole), ("a", "b"), tiled=True), None

        x, _ = jax.lax.scan(layer, x, length=5)
        total = jax.lax.psum(x.sum(), "b")
        total = jax.lax.psum(jnp.sin(total), "b")
        return jax.lax.ppermute(x, "a", [(0, 1), (1, 0)]) + total

    spec = PartitionSpec(("a", "b"))
    mapped = jax.shard_map(share, mesh=mesh, in_specs=spec, out_specs=spec, check_vma=False)
    x = jax.ShapeDtypeStruct((8, 32), jnp.float32)
    hlo = jax.jit(mapped).lower(x).compile().as_text()
    print(json.dumps({kind: list(sent) for kind, sent in traffic(hlo, 8).items()}))


if __name__ == "__main__":
    sys.exit(compile_known_program())
