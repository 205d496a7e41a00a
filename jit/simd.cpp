#include "jit/simd.hpp"

namespace tandem::jit {

void Simd::zero(const Vec& v) const {
    // A VEX-encoded xor of the low half clears the whole register where the index allows it.
    if (v.getIdx() < 16) {
        const Xbyak::Xmm x(v.getIdx());
        code.vxorps(x, x, x);
    } else {
        code.vpxord(v, v, v);
    }
}

void Simd::permute(const Vec& to, int index_register, const Vec& from) const {
    const auto wide = [](const Vec& v) {
        return v.isZMM() ? Xbyak::Ymm(Xbyak::Zmm(v.getIdx())) : Xbyak::Ymm(v.getIdx());
    };
    code.vpermps(wide(to), wide(like(to, index_register)), from);
}

void Simd::set_opmask(const Lanes& lanes, const Gpr& scratch) const {
    if (lanes.count == 0) return;
    code.mov(scratch.cvt32(), (1u << lanes.count) - 1);
    code.kmovw(Xbyak::Opmask(lanes.mask), scratch.cvt32());
}

void Simd::load_mask(const Lanes& lanes) const {
    if (lanes.count > 0) code.vmovups(vec(lanes.mask), code.lane_mask(lanes.count));
}

void Simd::load(const Vec& v, const Address& from, const Lanes& lanes) const {
    if (lanes.count == 0) {
        code.vmovups(v, from);
    } else if (avx512()) {
        code.vmovups(v | Xbyak::Opmask(lanes.mask) | code.T_z, from);
    } else {
        code.vmaskmovps(v, vec(lanes.mask), from);
    }
}

void Simd::store(const Address& to, const Vec& v, const Lanes& lanes) const {
    if (lanes.count == 0) {
        code.vmovups(to, v);
    } else if (avx512()) {
        code.vmovups(to | Xbyak::Opmask(lanes.mask), v);
    } else {
        code.vmaskmovps(to, vec(lanes.mask), v);
    }
}

void Simd::clear_tail(const Vec& v, const Lanes& lanes) const {
    if (lanes.count == 0) return;
    if (avx512()) {
        code.vmovaps(v | Xbyak::Opmask(lanes.mask) | code.T_z, v);
    } else {
        code.vandps(v, v, vec(lanes.mask));
    }
}

}  // namespace tandem::jit
