// Generated functions keep the System V ABI: callee-saved registers, MXCSR, the x87 unit, the direction
// flag.
//
// Every tile function of a kernel is replaced in turn by a probe that calls it between loading patterns and
// looking at them again. The executor around it would not do: a compiler may save the very registers that
// the generated code loses.
#include "support/doctest.hpp"

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "core/plan/machine.hpp"
#include "core/run/kernel_code.hpp"
#include "support/forked_jobs.hpp"
#include "support/guarded_call.hpp"
#include "tandem/context.hpp"

using namespace tandem;
using namespace tandem::test;

namespace {

struct State {
    std::uint64_t rbx, rbp, r12, r13, r14, r15, rsp, flags;
    std::uint32_t mxcsr;
    std::uint16_t x87_control, x87_status;
    std::uint32_t x87_tags;  // low half: 0xffff = every register empty
    std::uint32_t padding;
};

struct Probe {
    State before, after;
};

}  // namespace

extern "C" void tandem_test_call_probed(void (*function)(jit::TileArgs*), jit::TileArgs* args, Probe* probe);

static_assert(sizeof(State) == 80 && offsetof(Probe, after) == 80 && offsetof(State, rsp) == 48 &&
              offsetof(State, flags) == 56 && offsetof(State, mxcsr) == 64 &&
              offsetof(State, x87_control) == 68 && offsetof(State, x87_status) == 70 &&
              offsetof(State, x87_tags) == 72);

asm(R"(
    .macro tandem_test_record at
        mov %rsp, \at+48(%rdx)
        pushfq
        popq \at+56(%rdx)
        stmxcsr \at+64(%rdx)
        fnstcw \at+68(%rdx)
        fnstsw \at+70(%rdx)
        fnstenv 8(%rsp)
        fldenv 8(%rsp)
        mov 16(%rsp), %ecx
        mov %ecx, \at+72(%rdx)
    .endm

    .text
    .globl tandem_test_call_probed
    .type tandem_test_call_probed, @function
tandem_test_call_probed:
    push %rbx
    push %rbp
    push %r12
    push %r13
    push %r14
    push %r15
    sub $56, %rsp
    mov %rdx, (%rsp)
    mov %rdi, %rax
    mov %rsi, %rdi
    movabs $0x1111111122222222, %rbx
    movabs $0x3333333344444444, %rbp
    movabs $0x5555555566666666, %r12
    movabs $0x7777777788888888, %r13
    movabs $0x99999999aaaaaaaa, %r14
    movabs $0xbbbbbbbbcccccccc, %r15
    mov %rbx, (%rdx)
    mov %rbp, 8(%rdx)
    mov %r12, 16(%rdx)
    mov %r13, 24(%rdx)
    mov %r14, 32(%rdx)
    mov %r15, 40(%rdx)
    tandem_test_record 0
    call *%rax
    mov (%rsp), %rdx
    mov %rbx, 80(%rdx)
    mov %rbp, 88(%rdx)
    mov %r12, 96(%rdx)
    mov %r13, 104(%rdx)
    mov %r14, 112(%rdx)
    mov %r15, 120(%rdx)
    tandem_test_record 80
    add $56, %rsp
    pop %r15
    pop %r14
    pop %r13
    pop %r12
    pop %rbp
    pop %rbx
    ret
    .size tandem_test_call_probed, .-tandem_test_call_probed
)");

namespace {

constexpr std::uint32_t mxcsr_status = 0x3f;  // sticky exception flags: arithmetic sets them
constexpr std::uint64_t direction_flag = 1u << 10;

jit::TileFunction probed_function = nullptr;
int probed_calls = 0;
std::string difference;

void compare(const State& before, const State& after) {
    const auto check = [&](const char* name, std::uint64_t a, std::uint64_t b) {
        if (a != b && difference.empty()) difference = fmt::format("{} was {:#x} and is {:#x}", name, a, b);
    };
    check("rbx", before.rbx, after.rbx);
    check("rbp", before.rbp, after.rbp);
    check("r12", before.r12, after.r12);
    check("r13", before.r13, after.r13);
    check("r14", before.r14, after.r14);
    check("r15", before.r15, after.r15);
    check("rsp", before.rsp, after.rsp);
    check("the direction flag", before.flags & direction_flag, after.flags & direction_flag);
    check("MXCSR", before.mxcsr & ~mxcsr_status, after.mxcsr & ~mxcsr_status);
    check("the x87 control word", before.x87_control, after.x87_control);
    check("the x87 status word", before.x87_status, after.x87_status);
    check("the x87 tag word", before.x87_tags & 0xffff, after.x87_tags & 0xffff);
}

void probe_call(jit::TileArgs* args) {
    Probe probe{};
    tandem_test_call_probed(probed_function, args, &probe);
    ++probed_calls;
    compare(probe.before, probe.after);
}

/// Calls the kernel once for each of its functions, with that one probed. Returns how often a probe was
/// called.
int probe_kernel(const Problem& problem, const Kernel& kernel) {
    probed_calls = 0;
    difference.clear();
    const std::vector<jit::TileFunction>& functions = kernel.impl()->code->last().code.functions;
    for (std::size_t i = 0; i < functions.size(); ++i) {
        const Plan& plan = kernel.plan();
        auto fresh = KernelCode::create(kernel.impl()->code->problem, plan, "probed");
        REQUIRE(fresh);
        probed_function = functions[i];
        const auto code = std::const_pointer_cast<KernelCode>(*fresh);
        SegmentCode& segment = code->segments.back();
        segment.code.functions[i] = probe_call;
        auto runner = make_tile_runner(segment.problem, segment.plan, segment.code);
        REQUIRE(runner);
        segment.runner = std::move(*runner);
        const Kernel probed(KernelImpl::create(problem, code));
        GuardedCall call(problem, probed);
        for (const int parts : {1, 3})
            for (int part = 0; part < parts; ++part)
                REQUIRE(call.run(part, parts).ok());
    }
    return probed_calls;
}

}  // namespace

TEST_CASE("ABI: the probe sees a register that is not preserved, and the flags") {
    using namespace tandem::jit;
    const auto spoil = [](auto emit) {
        const auto code = emit_code([&](CodeBlock& block) {
            emit(block);
            block.ret();
        });
        REQUIRE(code.ok());
        probed_function =
            reinterpret_cast<TileFunction>(reinterpret_cast<std::uintptr_t>(code->memory->bytes().data()));
        difference.clear();
        TileArgs args;
        probe_call(&args);
        asm volatile("cld; fninit");
        return difference;
    };
    CHECK(spoil([](CodeBlock&) {}) == "");
    CHECK(spoil([](CodeBlock& b) { b.inc(Gpr(Xbyak::Operand::RBX)); }).starts_with("rbx"));
    CHECK(spoil([](CodeBlock& b) { b.inc(Gpr(Xbyak::Operand::RBP)); }).starts_with("rbp"));
    CHECK(spoil([](CodeBlock& b) { b.inc(Gpr(Xbyak::Operand::R15)); }).starts_with("r15"));
    CHECK(spoil([](CodeBlock& b) { b.std(); }).starts_with("the direction flag"));
    CHECK(spoil([](CodeBlock& b) { b.fld1(); }).starts_with("the x87"));
}

TEST_CASE("ABI: every tile function of fused kernels preserves what a callee must") {
    Context context;
    for (const char* text :
         {"1x40x11x13:dw3+bias+relu6:conv1o50+bias+gelu_erf+sum", "1x17x9x9:dw5s2m2+prelu+sum:conv1o20+swish",
          "1x9x12x12:conv3o33+bias+elu(1):conv3o18s2+scale+sum(7)", "1x12x9x9:conv1o20+sigmoid:dw3+tanh"})
        for (const Isa isa : host_isas(DataType::f32))
            for (const Layout layout : {Layout::nhwc, Layout::nchw16c, Layout::nchw8c})
                for (const int threads : {1, 64}) {  // many threads: channel splits
                    ConvPair pair = *ConvPair::parse(text);
                    pair.layout = layout;
                    const auto kernel = context.dispatch(pair, {.isa = isa, .threads = threads});
                    REQUIRE(kernel.ok());
                    CAPTURE(kernel->name());
                    CHECK(probe_kernel(*make_problem(pair), *kernel) > 0);
                    CHECK(difference == "");
                }
}
