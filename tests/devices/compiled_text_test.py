"""What is read of compiled programs, on a few lines of what XLA has printed."""

import pytest

from lthjax.devices import compiled_text

# Of a TPU (v5e): a crop that has become a loop, a convolution, two all-reduces, one of
# them of a tuple. Configuration that is not read is left out.
TPU = """HloModule jit_f, is_scheduled=true, num_partitions=4

%fused_computation.6 (param_0.68: bf16[3,3,3,64], param_1.70: u8[128,32,32,3]) -> f32[] {
  %param_0.68 = bf16[3,3,3,64]{3,2,1,0:T(4,128)(2,1)} parameter(0)
  ROOT %convolution.1 = f32[]{:T(128)} fusion(%param_0.68), backend_config={"estimated_cycles":"7"}
}

%body (wide.param.3: (s32[], u8[128,32,32,3])) -> (s32[], u8[128,32,32,3]) {
  %wide.param.3 = (s32[]{:T(128)}, u8[128,32,32,3]{0,2,3,1:T(32,128)(4,1)}) parameter(0)
  %fusion.26 = (s32[1,1]{0,1:T(1,128)}, s32[1,1]{0,1:T(1,128)}) fusion(%wide.param.3), kind=kLoop, backend_config={"window_config":{"estimated_cycles":"1840"}}
  %slice.5 = u8[1,24,24,3]{0,2,3,1:T(8,128)(4,1)S(1)} fusion(%fusion.26), kind=kLoop, backend_config={"window_config":{"estimated_cycles":"4502"}}
  ROOT %tuple.40 = (s32[]{:T(128)}, u8[128,32,32,3]{0,2,3,1:T(32,128)(4,1)}) tuple(%slice.5)
}

%cond (wide.param.12: (s32[], u8[128,32,32,3])) -> pred[] {
  %constant.72 = s32[]{:T(128)} constant(128)
  %wide.param.12 = (s32[]{:T(128)}, u8[128,32,32,3]{0,2,3,1:T(32,128)(4,1)}) parameter(0)
  %get-tuple-element.78 = s32[]{:T(128)} get-tuple-element(%wide.param.12), index=0
  ROOT %compare.1 = pred[]{:T(512)} compare(%get-tuple-element.78, %constant.72), direction=LT, backend_config={"flag_configs":[]}
}

%open (wide.param.1: (s32[], s32[])) -> pred[] {
  %wide.param.1 = (s32[]{:T(128)}, s32[]{:T(128)}) parameter(0)
  %get-tuple-element.1 = s32[]{:T(128)} get-tuple-element(%wide.param.1), index=0
  %get-tuple-element.2 = s32[]{:T(128)} get-tuple-element(%wide.param.1), index=1
  ROOT %compare.2 = pred[]{:T(512)} compare(%get-tuple-element.1, %get-tuple-element.2), direction=LT
}

ENTRY %main.9_spmd (param.7: f32[256,256], param.8: bf16[3,3,3,64]) -> f32[256,256] {
  %param.8 = bf16[3,3,3,64]{3,2,1,0:T(4,128)(2,1)} parameter(1)
  %while.12 = (s32[]{:T(128)}, u8[128,32,32,3]{0,2,3,1:T(32,128)(4,1)}, /*index=2*/s32[]{:T(128)}) while(%tuple.38), condition=%cond, body=%body, metadata={op_name="jit(f)/vmap()/gather" stack_frame_id=16}
  %fusion.1 = (f32[]{:T(128)}, bf16[128,32,32,64]{0,3,2,1:T(8,128)(2,1)S(1)}) fusion(%param.8), kind=kOutput, calls=%fused_computation.6, backend_config={"window_config":{"estimated_cycles":"98796"}}
  %psum.22 = bf16[3,3,3,64]{3,2,1,0:T(4,128)(2,1)S(1)} all-reduce(%param.8), channel_id=1, to_apply=%region_1.2
  %all-reduce = (f32[256,256]{1,0:T(8,128)S(1)}, f32[]{:T(128)}) all-reduce(%fusion.10, %add.23), channel_id=1, to_apply=%region_0.1
  %while.11 = (s32[]{:T(128)}, s32[]{:T(128)}) while(%tuple.41), condition=%open, body=%body, metadata={op_name="jit(f)/while"}
  ROOT %done = f32[256,256]{1,0:T(8,128)} copy(%all-reduce)
}
"""  # noqa: E501

# Of an H100: a gather, a convolution of cuDNN, an asynchronous all-reduce.
GPU = """HloModule jit_f, is_scheduled=true

%fused_gather (param_0.30: u8[5000,32,32,3], param_1.88: s32[128,4]) -> u8[128,32,32,3] {
  %param_0.30 = u8[5000,32,32,3]{3,2,1,0} parameter(0)
  %param_1.88 = s32[128,4]{1,0} parameter(1)
  ROOT %gather.5.1 = u8[128,32,32,3]{3,2,1,0} gather(%param_0.30, %param_1.88), offset_dims={1,2,3}
}

ENTRY %main.9_spmd (param.7: f32[16,16], param.11: u8[5000,32,32,3]) -> f32[16,16] {
  %param.7 = f32[16,16]{1,0} parameter(0)
  %param.11 = u8[5000,32,32,3]{3,2,1,0} parameter(1)
  %param.10 = s32[128,4]{1,0} parameter(2)
  %loop_gather_fusion = u8[128,32,32,3]{3,2,1,0} fusion(%param.11, %param.10), kind=kLoop, calls=%fused_gather
  %cudnn-conv.1 = (bf16[128,32,32,64]{3,2,1,0}, u8[0]{0}) custom-call(%loop_gather_fusion), custom_call_target="__cudnn$convForward"
  %all-reduce-start.1 = ((f32[16,16]{1,0}), f32[16,16]{1,0}) all-reduce-start(%param.7), channel_id=1, to_apply=%region_0.1
  ROOT %all-reduce-done.1 = f32[16,16]{1,0} all-reduce-done(%all-reduce-start.1)
}
"""  # noqa: E501


def test_cycles_are_those_of_the_entry_and_of_every_turn():
    found = compiled_text.read(TPU)
    turn = 1840 + 4502
    assert found.loops == (
        compiled_text.Loop(128, turn, "jit(f)/vmap()/gather"),
        compiled_text.Loop(None, turn, "jit(f)/while"),
    )
    # What is inside of a fusion is in its own cycles; an open loop counts once.
    assert found.cycles == 98796 + 128 * turn + turn


def test_collectives_of_tuples_count_all_their_arrays():
    (found,) = compiled_text.read(TPU).collectives
    assert found == ("all-reduce", 2, 2 * 3 * 3 * 3 * 64 + 4 * 256 * 256 + 4)


def test_an_asynchronous_collective_counts_what_comes_out_once():
    assert compiled_text.read(GPU).collectives == (("all-reduce", 1, 4 * 16 * 16),)


def test_kernels_are_what_a_gpu_is_asked_to_start():
    kernels = compiled_text.read(GPU).kernels
    assert kernels == {"fusion": 1, "cuDNN convolution": 1, "all-reduce-start": 1}


def test_of_what_is_gathered_from_only_the_rows_taken_are_accessed():
    rows, places = 128 * 32 * 32 * 3, 4 * 128 * 4
    convolution, reduced = 2 * 128 * 32 * 32 * 64, 3 * 4 * 16 * 16
    accessed = compiled_text.read(GPU).accessed
    assert accessed == (rows + places) + (rows + convolution) + reduced


def test_a_noted_number_of_turns_is_taken():
    noted = '), backend_config={"known_trip_count":{"n":"5"}}, condition=%open'
    text = TPU.replace("), condition=%open", noted)
    assert [loop.turns for loop in compiled_text.read(text).loops] == [128, 5]


@pytest.mark.parametrize(
    ("kind", "size"),
    [("f32[3,64]{1,0:T(8,128)}", 768), ("(bf16[2], pred[3], f32[])", 11)],
)
def test_size_of_a_type(kind, size):
    assert compiled_text.size(kind) == size


def test_what_is_no_program_is_refused():
    with pytest.raises(ValueError, match="must be that of a compiled program"):
        compiled_text.read("module @jit_f {}")
