"""XLA's flags for programs that are compiled to run a few times: tests, and the fuzzer's cases."""

# The older emitters of loops take half of the time; of a module cut into parts, each costs its own.
XLA_FLAGS = " ".join(
    (
        "--xla_backend_optimization_level=0",
        "--xla_llvm_disable_expensive_passes=true",
        "--xla_cpu_use_fusion_emitters=false",
        "--xla_cpu_parallel_codegen_split_count=1",
    )
)
