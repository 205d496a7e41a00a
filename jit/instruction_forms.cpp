#include "jit/instruction_forms.hpp"

#include <algorithm>
#include <array>
#include <cstring>

namespace tandem::jit {
namespace {

using Emit = void (*)(CodeBlock&, const FormOperands&);

/// A form at both widths, each with what it needs; a width without needs is none.
struct Row {
    const char* mnemonic;
    const char* operands;
    FormChain chain;
    Emit emit;
    bool ymm = true, zmm = true;
};

/// Rows that need the same.
struct Group {
    Isa ymm_needs, zmm_needs;
    std::vector<Row> rows;
};

constexpr FormChain none = FormChain::none, to = FormChain::to, first = FormChain::first;

Xbyak::Address whole(const CodeBlock& code, const Xbyak::RegExp& at) { return code.ptr[at]; }
Xbyak::Address broadcast(const CodeBlock& code, const Xbyak::RegExp& at) { return code.ptr_b[at]; }
Xbyak::Ymm ymm_like(const FormOperands& o, int index) {
    return o.wide() ? Xbyak::Ymm(Xbyak::Zmm(index)) : Xbyak::Ymm(index);
}

#define TANDEM_EMIT(...)                      \
    [](CodeBlock& c, const FormOperands& o) { \
        __VA_ARGS__;                          \
    }
// An instruction of three vectors; the same with the last from memory, whole or one number.
#define TANDEM_VVV(name, chain) \
    Row { #name, "v, v, v", chain, TANDEM_EMIT(c.name(o.vec(o.to), o.vec(o.first), o.vec(o.second))) }
#define TANDEM_VVM(name, chain) \
    Row { #name, "v, v, m", chain, TANDEM_EMIT(c.name(o.vec(o.to), o.vec(o.first), whole(c, o.from))) }
#define TANDEM_VVB(name, chain)                                                    \
    Row {                                                                          \
#name, "v, v, m{1toN}", chain,                                             \
            TANDEM_EMIT(c.name(o.vec(o.to), o.vec(o.first), broadcast(c, o.from))) \
    }
// Of two vectors, the second narrower where it is called h.
#define TANDEM_VV(name) \
    Row { #name, "v, v", first, TANDEM_EMIT(c.name(o.vec(o.to), o.vec(o.first))) }
#define TANDEM_VVI(name, number) \
    Row { #name, "v, v, i", first, TANDEM_EMIT(c.name(o.vec(o.to), o.vec(o.first), number)) }
#define TANDEM_LOAD(name, what) \
    Row { #name, what, none, TANDEM_EMIT(c.name(o.vec(o.to), whole(c, o.from))) }
#define TANDEM_STORE(name, what) \
    Row { #name, what, none, TANDEM_EMIT(c.name(whole(c, o.into), o.vec(o.first))) }

// The multiply-adds of f32 and their kin.
std::vector<Row> products() {
    return {
        TANDEM_VVV(vfmadd231ps, to),
        TANDEM_VVM(vfmadd231ps, to),
        TANDEM_VVV(vfmadd213ps, to),
        TANDEM_VVV(vfnmadd231ps, to),
        TANDEM_VVV(vmulps, first),
        TANDEM_VVM(vmulps, first),
        TANDEM_VVV(vpmaddwd, first),
        {"vpmaddwd+vpaddd", "v, v, v", none,
         TANDEM_EMIT(c.vpmaddwd(o.vec(o.second + 1), o.vec(o.first), o.vec(o.second));
                     c.vpaddd(o.vec(o.to), o.vec(o.to), o.vec(o.second + 1)))},
    };
}

// What AVX2 has, and AVX-512 at its width too.
std::vector<Row> common_arithmetic() {
    return {
        TANDEM_VVV(vaddps, first),
        TANDEM_VVM(vaddps, first),
        TANDEM_VVV(vsubps, first),
        TANDEM_VVV(vdivps, first),
        TANDEM_VVV(vmaxps, first),
        TANDEM_VVV(vminps, first),
        TANDEM_VVV(vandps, first),
        TANDEM_VVV(vpaddd, first),
        TANDEM_VVV(vpmaxsb, first),
        TANDEM_VVV(vpmaxub, first),
        TANDEM_VVV(vpminsb, first),
        TANDEM_VVV(vpminub, first),
        TANDEM_VVI(vpslld, 1),
        TANDEM_VVI(vpsrld, 1),
        TANDEM_VVV(vunpcklps, first),
        TANDEM_VVV(vunpckhps, first),
        {"vshufps", "v, v, v, i", first,
         TANDEM_EMIT(c.vshufps(o.vec(o.to), o.vec(o.first), o.vec(o.second), 0x88))},
        TANDEM_VVV(vunpcklpd, first),
        TANDEM_VVV(vunpckhpd, first),
        TANDEM_VVV(vpunpcklbw, first),
        TANDEM_VVV(vpunpckhbw, first),
        TANDEM_VVV(vpunpcklwd, first),
        TANDEM_VVV(vpunpckhwd, first),
        TANDEM_VVV(vpackssdw, first),
        TANDEM_VVV(vpacksswb, first),
        TANDEM_VVV(vpackusdw, first),
        TANDEM_VVV(vpackuswb, first),
        TANDEM_VVV(vpshufb, first),
        TANDEM_VV(vcvtdq2ps),
        TANDEM_VV(vcvtps2dq),
        TANDEM_VV(vmovaps),
        {"vpermps", "v, v, v", first,
         TANDEM_EMIT(c.vpermps(ymm_like(o, o.to), ymm_like(o, o.second), o.vec(o.first)))},
        {"vpermd", "v, v, v", first,
         TANDEM_EMIT(c.vpermd(ymm_like(o, o.to), ymm_like(o, o.second), o.vec(o.first)))},
        {"vpermq", "v, v, i", first, TANDEM_EMIT(c.vpermq(ymm_like(o, o.to), o.vec(o.first), 0xd8))},
        {"vpmovzxwd", "v, h", first, TANDEM_EMIT(c.vpmovzxwd(o.vec(o.to), o.half(o.first)))},
        {"vcvtph2ps", "v, h", first, TANDEM_EMIT(c.vcvtph2ps(o.vec(o.to), o.half(o.first)))},
        {"vcvtps2ph", "h, v, i", first, TANDEM_EMIT(c.vcvtps2ph(o.half(o.to), o.vec(o.first), 0))},
    };
}

std::vector<Row> common_memory() {
    return {
        TANDEM_LOAD(vmovups, "v, m"),
        TANDEM_LOAD(vmovaps, "v, m"),
        TANDEM_LOAD(vbroadcastss, "v, m"),
        {"vbroadcastsd", "v, m", none, TANDEM_EMIT(c.vbroadcastsd(ymm_like(o, o.to), whole(c, o.from)))},
        TANDEM_LOAD(vpbroadcastd, "v, m"),
        TANDEM_LOAD(vcvtph2ps, "v, m"),
        TANDEM_LOAD(vpmovzxwd, "v, m"),
        TANDEM_LOAD(vpmovsxwd, "v, m"),
        TANDEM_LOAD(vpmovzxbd, "v, m"),
        TANDEM_LOAD(vpmovsxbd, "v, m"),
        {"vbroadcastss", "v, x", first, TANDEM_EMIT(c.vbroadcastss(o.vec(o.to), Xbyak::Xmm(o.first)))},
        TANDEM_STORE(vmovups, "m, v"),
        TANDEM_STORE(vmovaps, "m, v"),
        {"vcvtps2ph", "m, v, i", none, TANDEM_EMIT(c.vcvtps2ph(whole(c, o.into), o.vec(o.first), 0))},
    };
}

// VEX only: kernels for AVX-512 take the EVEX forms below.
std::vector<Row> vex_only() {
    return {
        TANDEM_VVV(vpand, first),
        TANDEM_VVV(vpor, first),
        TANDEM_VVV(vpxor, first),
        {"vxorps", "x, x, x", none,
         TANDEM_EMIT(const Xbyak::Xmm x(o.to % 16); c.vxorps(x, x, x))},  // what zeroes any width
        TANDEM_VVI(vroundps, 0),
        {"vcmpps", "v, v, v, i", first,
         TANDEM_EMIT(c.vcmpps(o.vec(o.to), o.vec(o.first), o.vec(o.second), 1))},
        {"vblendvps", "v, v, v, v", first,
         TANDEM_EMIT(c.vblendvps(o.vec(o.to), o.vec(o.first), o.vec(o.second), o.vec(o.second)))},
        {"vinsertf128", "v, v, x, i", first,
         TANDEM_EMIT(c.vinsertf128(Xbyak::Ymm(o.to), Xbyak::Ymm(o.first), Xbyak::Xmm(o.second), 1))},
        TANDEM_LOAD(vmovdqu, "v, m"),
        TANDEM_STORE(vmovdqu, "m, v"),
        {"vmaskmovps", "v, v, m", none,
         TANDEM_EMIT(c.vmaskmovps(o.vec(o.to), o.vec(o.first), whole(c, o.from)))},
        {"vmaskmovps", "m, v, v", none,
         TANDEM_EMIT(c.vmaskmovps(whole(c, o.into), o.vec(o.first), o.vec(o.second)))},
        {"prefetcht0", "m", none, TANDEM_EMIT(c.prefetcht0(whole(c, o.from)))},
        {"prefetcht1", "m", none, TANDEM_EMIT(c.prefetcht1(whole(c, o.from)))},
    };
}

std::vector<Row> evex_arithmetic() {
    return {
        TANDEM_VVB(vfmadd231ps, to),
        TANDEM_VVB(vmulps, first),
        TANDEM_VVB(vaddps, first),
        TANDEM_VVB(vmaxps, first),
        TANDEM_VVV(vpandd, first),
        TANDEM_VVV(vpord, first),
        TANDEM_VVV(vpxord, first),
        TANDEM_VVI(vrndscaleps, 0),
        TANDEM_VV(vmovdqa32),
        {"vpermw", "v, v, v", first, TANDEM_EMIT(c.vpermw(o.vec(o.to), o.vec(o.second), o.vec(o.first)))},
        {"vcmpps", "k, v, v, i", none,
         TANDEM_EMIT(c.vcmpps(Xbyak::Opmask(2), o.vec(o.first), o.vec(o.second), 1))},
        {"vcmpunordps", "k, v, v", none,
         TANDEM_EMIT(c.vcmpunordps(Xbyak::Opmask(2), o.vec(o.first), o.vec(o.second)))},
        {"vpmovdw", "h, v", first, TANDEM_EMIT(c.vpmovdw(o.half(o.to), o.vec(o.first)))},
        {"vpmovdb", "x, v", first, TANDEM_EMIT(c.vpmovdb(Xbyak::Xmm(o.to), o.vec(o.first)))},
        {"vinserti32x4", "v, v, x, i", first,
         TANDEM_EMIT(c.vinserti32x4(ymm_like(o, o.to), ymm_like(o, o.first), Xbyak::Xmm(o.second), 1))},
        {"vinsertf32x4", "v, v, x, i", first,
         TANDEM_EMIT(c.vinsertf32x4(ymm_like(o, o.to), ymm_like(o, o.first), Xbyak::Xmm(o.second), 1))},
        {"vextracti32x4", "x, v, i", first,
         TANDEM_EMIT(c.vextracti32x4(Xbyak::Xmm(o.to), ymm_like(o, o.first), 1))},
        {"vinsertf32x8", "v, v, h, i", first,
         TANDEM_EMIT(c.vinsertf32x8(Xbyak::Zmm(o.to), Xbyak::Zmm(o.first), Xbyak::Ymm(o.second), 1)), false,
         true},
        {"vextractf32x8", "h, v, i", first,
         TANDEM_EMIT(c.vextractf32x8(Xbyak::Ymm(o.to), Xbyak::Zmm(o.first), 1)), false, true},
        {"vextracti32x8", "h, v, i", first,
         TANDEM_EMIT(c.vextracti32x8(Xbyak::Ymm(o.to), Xbyak::Zmm(o.first), 1)), false, true},
        {"vextracti64x4", "h, v, i", first,
         TANDEM_EMIT(c.vextracti64x4(Xbyak::Ymm(o.to), Xbyak::Zmm(o.first), 1)), false, true},
    };
}

std::vector<Row> evex_memory() {
    return {
        {"vmovups", "v{k}, m", none,
         TANDEM_EMIT(c.vmovups(o.vec(o.to) | Xbyak::Opmask(1) | c.T_z, whole(c, o.from)))},
        {"vmovups", "m{k}, v", none,
         TANDEM_EMIT(c.vmovups(whole(c, o.into) | Xbyak::Opmask(1), o.vec(o.first)))},
        TANDEM_LOAD(vmovdqu8, "v, m"),
        TANDEM_LOAD(vmovdqu16, "v, m"),
        TANDEM_LOAD(vmovdqu32, "v, m"),
        TANDEM_STORE(vmovdqu8, "m, v"),
        TANDEM_STORE(vmovdqu16, "m, v"),
        TANDEM_STORE(vmovdqu32, "m, v"),
        TANDEM_STORE(vpmovdw, "m, v"),
        TANDEM_STORE(vpmovdb, "m, v"),
        {"vbroadcasti32x4", "v, m", none,
         TANDEM_EMIT(c.vbroadcasti32x4(ymm_like(o, o.to), whole(c, o.from)))},
    };
}

std::vector<Row> vnni_evex() {
    return {TANDEM_VVV(vpdpbusd, to), TANDEM_VVM(vpdpbusd, to), TANDEM_VVB(vpdpbusd, to)};
}

std::vector<Row> vnni_vex() {
    return {{"vpdpbusd", "v, v, v (VEX)", to,
             TANDEM_EMIT(c.vpdpbusd(o.vec(o.to), o.vec(o.first), o.vec(o.second), Xbyak::VexEncoding))},
            {"vpdpbusd", "v, v, m (VEX)", to,
             TANDEM_EMIT(c.vpdpbusd(o.vec(o.to), o.vec(o.first), whole(c, o.from), Xbyak::VexEncoding))}};
}

std::vector<Row> vnni_int8() { return {TANDEM_VVV(vpdpbssd, to), TANDEM_VVM(vpdpbssd, to)}; }

std::vector<Row> ne_convert() {
    return {{"vcvtneps2bf16", "h, v (VEX)", first,
             TANDEM_EMIT(c.vcvtneps2bf16(o.half(o.to), o.vec(o.first), Xbyak::VexEncoding))},
            {"vbcstnebf162ps", "v, m", none, TANDEM_EMIT(c.vbcstnebf162ps(o.vec(o.to), c.word[o.from]))},
            {"vbcstnesh2ps", "v, m", none, TANDEM_EMIT(c.vbcstnesh2ps(o.vec(o.to), c.word[o.from]))}};
}

std::vector<Row> bf16() {
    return {TANDEM_VVV(vdpbf16ps, to),
            TANDEM_VVM(vdpbf16ps, to),
            TANDEM_VVB(vdpbf16ps, to),
            TANDEM_VVV(vcvtne2ps2bf16, first),
            {"vcvtneps2bf16", "h, v", first, TANDEM_EMIT(c.vcvtneps2bf16(o.half(o.to), o.vec(o.first)))}};
}

std::vector<Row> fp16() {
    return {TANDEM_VVV(vfmadd231ph, to), TANDEM_VVM(vfmadd231ph, to), TANDEM_VVB(vfmadd231ph, to)};
}

std::vector<Row> vbmi() {
    return {
        {"vpermb", "v, v, v", first, TANDEM_EMIT(c.vpermb(o.vec(o.to), o.vec(o.second), o.vec(o.first)))}};
}

/// What is known by now, as forms.
class Table {
public:
    void add(const Group& group) {
        for (const Row& row : group.rows) {
            if (row.ymm) add(row, FormWidth::ymm, group.ymm_needs);
            if (row.zmm) add(row, FormWidth::zmm, group.zmm_needs);
        }
    }
    /// Of ymm only.
    void add_ymm(Isa needs, const std::vector<Row>& rows) {
        for (const Row& row : rows)
            add(row, FormWidth::ymm, needs);
    }
    void add_tiles(Isa needs, const std::vector<Row>& rows) {
        for (const Row& row : rows)
            add(row, FormWidth::tile, needs);
    }
    std::vector<InstructionForm> take() { return std::move(forms_); }

private:
    void add(const Row& row, FormWidth width, Isa needs) {
        forms_.push_back({row.mnemonic, row.operands, width, needs, row.chain, row.emit});
    }
    std::vector<InstructionForm> forms_;
};

void add_tile_forms(Table& table) {
    table.add_tiles(
        Isa::avx512.with(IsaFeature::amx_tile),
        {{"tileloadd", "t, m", none, TANDEM_EMIT(c.tileloadd(Xbyak::Tmm(o.to), c.ptr[o.from + o.stride]))},
         {"tilestored", "m, t", none, TANDEM_EMIT(c.tilestored(c.ptr[o.into + o.stride], Xbyak::Tmm(o.to)))},
         {"tilezero", "t", none, TANDEM_EMIT(c.tilezero(Xbyak::Tmm(o.to)))}});
    const auto product = [&](IsaFeature feature, const char* name, Emit emit) {
        table.add_tiles(Isa::avx512.with(feature), {{name, "t, t, t", to, emit}});
    };
    product(IsaFeature::amx_bf16, "tdpbf16ps",
            TANDEM_EMIT(c.tdpbf16ps(Xbyak::Tmm(o.to), Xbyak::Tmm(o.first), Xbyak::Tmm(o.second))));
    product(IsaFeature::amx_fp16, "tdpfp16ps",
            TANDEM_EMIT(c.tdpfp16ps(Xbyak::Tmm(o.to), Xbyak::Tmm(o.first), Xbyak::Tmm(o.second))));
    product(IsaFeature::amx_int8, "tdpbusd",
            TANDEM_EMIT(c.tdpbusd(Xbyak::Tmm(o.to), Xbyak::Tmm(o.first), Xbyak::Tmm(o.second))));
}

std::vector<InstructionForm> make_forms() {
    const Isa wide = Isa::avx512;
    Table table;
    table.add({Isa::avx2, wide, products()});
    table.add({wide, wide, evex_arithmetic()});
    table.add({wide.with(IsaFeature::vnni), wide.with(IsaFeature::vnni), vnni_evex()});
    table.add_ymm(Isa::avx2_vnni, vnni_vex());
    table.add_ymm(Isa::avx2.with(IsaFeature::avx_vnni_int8), vnni_int8());
    table.add_ymm(Isa::avx2.with(IsaFeature::avx_ne_convert), ne_convert());
    table.add({wide.with(IsaFeature::bf16), wide.with(IsaFeature::bf16), bf16()});
    table.add({wide.with(IsaFeature::fp16), wide.with(IsaFeature::fp16), fp16()});
    table.add({wide.with(IsaFeature::vbmi), wide.with(IsaFeature::vbmi), vbmi()});
    table.add({Isa::avx2, wide, common_arithmetic()});
    table.add({Isa::avx2, wide, common_memory()});
    table.add({wide, wide, evex_memory()});
    table.add_ymm(Isa::avx2, vex_only());
    add_tile_forms(table);
    return table.take();
}

// Letters of `operands` as registers of the width.
const char* register_name(char letter, FormWidth width) {
    switch (letter) {
        case 'v': return width == FormWidth::zmm ? "zmm" : "ymm";
        case 'h': return width == FormWidth::zmm ? "ymm" : "xmm";
        case 'x': return "xmm";
        case 't': return "tmm";
        default: return nullptr;
    }
}

}  // namespace

std::string InstructionForm::name() const {
    std::string text = std::string(mnemonic) + ' ';
    const std::string list = operands;
    for (std::size_t i = 0; i < list.size(); ++i) {
        const bool alone =
            (i == 0 || list[i - 1] == ' ') && (i + 1 == list.size() || std::strchr(", {", list[i + 1]));
        const char* const found = alone ? register_name(list[i], width) : nullptr;
        if (found)
            text += found;
        else if (list.compare(i, 4, "1toN") == 0)
            text += width == FormWidth::zmm ? "1to16" : "1to8", i += 3;
        else
            text += list[i];
    }
    return text;
}

bool InstructionForm::reads_memory() const noexcept {
    const char* const at = std::strchr(operands, 'm');
    return at && (at != operands || operands[1] == '\0');
}

bool InstructionForm::writes_memory() const noexcept { return operands[0] == 'm' && operands[1] != '\0'; }

std::span<const InstructionForm> instruction_forms() {
    static const std::vector<InstructionForm> forms = make_forms();
    return forms;
}

std::vector<const InstructionForm*> instruction_forms(Isa isa) {
    std::vector<const InstructionForm*> found;
    for (const InstructionForm& form : instruction_forms())
        if (isa.includes(form.needs)) found.push_back(&form);
    return found;
}

const InstructionForm* find_form(const std::string& name) {
    const auto forms = instruction_forms();
    const auto found =
        std::ranges::find_if(forms, [&](const InstructionForm& form) { return form.name() == name; });
    return found == forms.end() ? nullptr : &*found;
}

}  // namespace tandem::jit
