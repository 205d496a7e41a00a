#include "jit/reg_pool.hpp"

#include <stdexcept>

namespace tandem::jit {

RegPool RegPool::general_purpose() {
    using Xbyak::Operand;
    // Taken from the back: the registers that need no REX prefix for 32-bit counters come last.
    return RegPool({Operand::R15, Operand::R14, Operand::R13, Operand::R12, Operand::R11, Operand::R10,
                    Operand::R9, Operand::R8, Operand::RBP, Operand::RBX, Operand::RCX, Operand::RDX,
                    Operand::RSI, Operand::RDI, Operand::RAX});
}

RegPool::Lease RegPool::lease(std::string name) {
    if (free_.empty()) {
        std::string message = "no register is left for '" + name + "'; held by";
        for (const auto& [index, holder] : held_)
            message += " '" + holder + "'";
        throw std::runtime_error(message);
    }
    const int index = free_.back();
    free_.pop_back();
    held_.emplace_back(index, std::move(name));
    return Lease(*this, index);
}

void RegPool::give_back(int index) {
    std::erase_if(held_, [index](const auto& h) { return h.first == index; });
    free_.push_back(index);
}

}  // namespace tandem::jit
