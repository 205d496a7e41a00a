#include "jit/probe_loop.hpp"

#include <algorithm>
#include <array>

#include "jit/probe_frame.hpp"

namespace tandem::jit {
namespace {

const Gpr rax(Xbyak::Operand::RAX), rcx(Xbyak::Operand::RCX), r8(Xbyak::Operand::R8);

constexpr int chain_length = 128;   // of scalar instructions in a loop
constexpr int instances = 48;       // of a form in a loop, at least: the loop's own two instructions are few
constexpr int lines = 32;           // that forms read, and as many that they write: two pages in L1
constexpr int tiles_in_memory = 8;  // the same
constexpr std::int64_t line = 64;

// Two bf16 of 0.37, nearly that as f32, two f16 of 1.7, and two and four integers: neither 0 nor 1 as
// anything, so that the multipliers burn the power they burn in real work. The sign of one is for masks.
constexpr ProbeNumbers product_numbers{0x3ebd3ebd, 0xbebd3ebd}, plain_numbers{0x3f800000, 0xbf800000};

bool is_tile(const InstructionForm& form) { return form.width == FormWidth::tile; }

ProbeFrame frame_for(const InstructionForm& form, Isa isa) {
    ProbeFrame frame;
    frame.isa = isa;
    frame.numbers = form.chain == FormChain::first ? plain_numbers : product_numbers;
    frame.tiles = is_tile(form);
    return frame;
}

/// Instance `i` with its results in turn in `results` registers from `begin` on.
FormOperands operands_of(const InstructionForm& form, int i, int begin, int results) {
    FormOperands o;
    o.width = form.width;
    o.to = begin + i % results;
    const ProbeRegisters registers = ProbeRegisters::of(is_avx512(form.needs));
    o.first = registers.first;
    o.second = registers.second;
    o.from = probe_memory + i % lines * line;
    o.into = probe_memory + (lines + i % lines) * line;
    if (!is_tile(form)) return o;
    o.first = 4 + i / 2 % 2;
    o.second = 6 + i % 2;
    o.stride = r8;
    o.from = probe_memory + i % tiles_in_memory * probe_tile_bytes;
    o.into = probe_memory + (tiles_in_memory + i % tiles_in_memory) * probe_tile_bytes;
    return o;
}

int result_count(const InstructionForm& form) {
    if (is_tile(form)) return form.chain == FormChain::to ? 4 : 8;
    return ProbeRegisters::of(is_avx512(form.needs)).results;
}

/// How a mixed loop divides the results between FMAs and the form.
struct Division {
    int fma_results, form_begin, form_results;
};

Division division_for(const InstructionForm& form) {
    if (is_tile(form)) return {24, 0, result_count(form)};
    return is_avx512(form.needs) ? Division{12, 12, 16} : Division{8, 8, 5};
}

/// The FMA of a form's width from registers.
void emit_fma(CodeBlock& code, const InstructionForm& form, int accumulator) {
    FormOperands o;
    o.width = form.width == FormWidth::ymm ? FormWidth::ymm : FormWidth::zmm;
    const ProbeRegisters registers = ProbeRegisters::of(is_tile(form) || is_avx512(form.needs));
    code.vfmadd231ps(o.vec(accumulator), o.vec(registers.first), o.vec(registers.second));
}

Result<ProbeLoop> scalar_chain(const std::function<void(CodeBlock&)>& one) {
    ProbeFrame frame;
    frame.start = [](CodeBlock& code) {
        code.mov(rcx.cvt32(), 3);
    };
    return emit_probe_loop(frame, chain_length, [&](CodeBlock& code) {
        for (int i = 0; i < chain_length; ++i)
            one(code);
    });
}

}  // namespace

void ProbeLoop::run(std::int64_t iterations, std::byte* memory, std::size_t bytes) const noexcept {
    using Function = void (*)(std::int64_t, std::byte*, std::size_t);
    reinterpret_cast<Function>(reinterpret_cast<std::uintptr_t>(code_->bytes().data()))(iterations, memory,
                                                                                        bytes);
}

// Of registers: recent CPUs add small numbers while they rename, in no time.
Result<ProbeLoop> add_chain_loop() {
    return scalar_chain([](CodeBlock& code) { code.add(rax, rcx); });
}

Result<ProbeLoop> multiply_chain_loop() {
    return scalar_chain([](CodeBlock& code) { code.imul(rax, rcx); });
}

Result<ProbeLoop> throughput_loop(const InstructionForm& form, Isa isa) {
    return emit_probe_loop(frame_for(form, isa), instances, [&](CodeBlock& code) {
        for (int i = 0; i < instances; ++i)
            form.emit(code, operands_of(form, i, 0, result_count(form)));
    });
}

// Results that become sources go to and fro between two registers: a CPU might not move one to itself.
Result<ProbeLoop> latency_loop(const InstructionForm& form, Isa isa) {
    if (form.chain == FormChain::none)
        return Error{ErrorCode::invalid_argument, form.name() + " has nothing to wait for in registers."};
    return emit_probe_loop(frame_for(form, isa), instances, [&](CodeBlock& code) {
        for (int i = 0; i < instances; ++i) {
            FormOperands o = operands_of(form, i, 0, 1);
            if (form.chain == FormChain::first) o.to = (i + 1) % 2, o.first = i % 2;
            form.emit(code, o);
        }
    });
}

Result<ProbeLoop> mixed_loop(const InstructionForm& form, int forms, int fmas, Isa isa) {
    const Division division = division_for(form);
    const int groups = std::max(1, (instances + forms + fmas - 1) / (forms + fmas));
    return emit_probe_loop(frame_for(form, isa), groups, [&](CodeBlock& code) {
        int form_count = 0, fma_count = 0;
        for (int group = 0; group < groups; ++group) {
            for (int i = 0, due = 0; i < forms + fmas; ++i) {
                due += forms;  // evenly among the FMAs
                if (due >= forms + fmas || fmas == 0) {
                    due -= forms + fmas;
                    form.emit(code,
                              operands_of(form, form_count++, division.form_begin, division.form_results));
                } else {
                    emit_fma(code, form, fma_count++ % division.fma_results);
                }
            }
        }
    });
}

Result<ProbeLoop> tile_configuration_loop(Isa isa) {
    ProbeFrame frame;
    frame.isa = isa;
    return emit_probe_loop(frame, 1, [](CodeBlock& code) {
        code.ldtilecfg(tile_configuration(code));
        code.tilerelease();
    });
}

Result<ProbeLoop> tile_round_trip_loop(Isa isa) {
    ProbeFrame frame;
    frame.isa = isa;
    frame.tiles = true;
    constexpr int tiles = 4;
    return emit_probe_loop(frame, tiles, [](CodeBlock& code) {
        for (int i = 0; i < tiles; ++i) {
            code.tilestored(code.ptr[probe_memory + r8], Xbyak::Tmm(0));
            code.vmovups(Xbyak::Zmm(0), code.ptr[probe_memory + (probe_tile_rows - 1) * line]);
            code.vmovups(code.ptr[probe_memory], Xbyak::Zmm(0));
            code.tileloadd(Xbyak::Tmm(0), code.ptr[probe_memory + r8]);
        }
    });
}

const char* to_string(CheapInstruction instruction) noexcept {
    switch (instruction) {
        case CheapInstruction::nop: return "nop";
        case CheapInstruction::move: return "mov r, r";
        case CheapInstruction::lea: return "lea r, r+r";
        case CheapInstruction::load: return "mov r, m";
    }
    return "?";
}

Result<ProbeLoop> front_end_loop(CheapInstruction instruction, Isa isa) {
    constexpr int count = 240;
    static const std::array<Xbyak::Reg32, 4> to{
        Xbyak::Reg32(Xbyak::Operand::R8), Xbyak::Reg32(Xbyak::Operand::R9), Xbyak::Reg32(Xbyak::Operand::R10),
        Xbyak::Reg32(Xbyak::Operand::R11)};
    ProbeFrame frame;
    frame.isa = isa;
    return emit_probe_loop(frame, count, [&](CodeBlock& code) {
        for (std::size_t i = 0; i < count; ++i) {
            const Xbyak::Reg32 result = to[i % to.size()];
            switch (instruction) {
                case CheapInstruction::nop: code.nop(); break;
                case CheapInstruction::move: code.mov(result, rcx.cvt32()); break;
                case CheapInstruction::lea: code.lea(result, code.ptr[rcx + rax]); break;
                case CheapInstruction::load:
                    code.mov(result, code.dword[probe_memory + i % lines * line]);
                    break;
            }
        }
    });
}

Result<ProbeLoop> footprint_loop(std::size_t code_bytes, Isa isa) {
    const InstructionForm& fma = instruction_forms().front();
    const bool wide = is_avx512(isa);
    const std::size_t instruction_bytes = wide ? 6 : 5,
                      count = std::max<std::size_t>(12, code_bytes / instruction_bytes);
    const ProbeRegisters registers = ProbeRegisters::of(wide);
    ProbeFrame frame = frame_for(fma, isa);
    return emit_probe_loop(frame, static_cast<double>(count), [&](CodeBlock& code) {
        FormOperands o;
        o.width = wide ? FormWidth::zmm : FormWidth::ymm;
        for (std::size_t i = 0; i < count; ++i)
            code.vfmadd231ps(o.vec(static_cast<int>(i) % registers.results), o.vec(registers.first),
                             o.vec(registers.second));
    });
}

}  // namespace tandem::jit
