#include "jit/linear_transform.hpp"

#include <cmath>
#include <optional>
#include <utility>

namespace tandem::jit {

// An input, or what a step comes to.
struct LinearTransform::Value {
    std::optional<Register> reg{};
    int uses = 0;  // that are still to come

    /// Where the value is used for the last time, its register; else nothing.
    std::optional<Register> use() {
        if (--uses > 0) return std::nullopt;
        return std::exchange(reg, std::nullopt);
    }
};

namespace {

bool plain(double factor) { return std::abs(factor) == 1; }

}  // namespace

void LinearTransform::hold_factors(const LinearProgram& program, std::size_t left) {
    for (const LinearProgram::Step& step : program.steps) {
        for (const Term& term : step.terms) {
            const auto factor = static_cast<float>(std::abs(term.factor));
            if (plain(term.factor) || factors_.contains(factor) || registers_.available() <= left) continue;
            const auto held = factors_.emplace(factor, registers_.lease("factor")).first;
            code_.vmovaps(vec(held->second), code_.constant(factor));
        }
    }
}

void LinearTransform::emit(const LinearProgram& program, std::vector<Register> inputs, const Use& use) {
    std::vector<Value> values(inputs.size() + program.steps.size());
    for (std::size_t i = 0; i < inputs.size(); ++i)
        values[i].reg.emplace(std::move(inputs[i]));
    inputs.clear();
    for (const LinearProgram::Step& step : program.steps)
        for (const Term& term : step.terms)
            ++values[static_cast<std::size_t>(term.value)].uses;
    for (int i = 0; i < program.inputs; ++i)
        if (values[static_cast<std::size_t>(i)].uses == 0) values[static_cast<std::size_t>(i)].reg.reset();
    std::size_t result = static_cast<std::size_t>(program.inputs);
    for (const LinearProgram::Step& step : program.steps) {
        std::size_t done = 0;
        Register sum = start(values, step, done);
        for (; done < step.terms.size(); ++done) {
            Value& value = values[static_cast<std::size_t>(step.terms[done].value)];
            add(vec(sum), vec(*value.reg), step.terms[done].factor);
            value.use();
        }
        if (step.output >= 0)
            use(step.output, std::move(sum));
        else
            values[result].reg.emplace(std::move(sum));
        ++result;
    }
}

// The first term or two, as an instruction without a move if there is one.
LinearTransform::Register LinearTransform::start(std::vector<Value>& values, const LinearProgram::Step& step,
                                                 std::size_t& done) {
    Value& first = values[static_cast<std::size_t>(step.terms[0].value)];
    const Vec from = vec(*first.reg);
    done = 1;
    if (step.terms[0].factor != 1) {
        auto last = first.use();
        Register to = last ? std::move(*last) : registers_.lease("transformed");
        with_factor(step.terms[0].factor, [&](const Xbyak::Operand& by) { code_.vmulps(vec(to), from, by); });
        return to;
    }
    if (step.terms.size() > 1 && (first.uses > 1 || plain(step.terms[1].factor))) {
        done = 2;
        return first_plus_product(values, step);
    }
    auto last = first.use();
    Register to = last ? std::move(*last) : registers_.lease("transformed");
    if (!last) code_.vmovaps(vec(to), from);
    return to;
}

// The first term, which is a value as it is, and the second, where that makes one instruction: where no
// product is asked for, or where the second value is not read again.
LinearTransform::Register LinearTransform::first_plus_product(std::vector<Value>& values,
                                                              const LinearProgram::Step& step) {
    Value &first = values[static_cast<std::size_t>(step.terms[0].value)],
          &second = values[static_cast<std::size_t>(step.terms[1].value)];
    const double factor = step.terms[1].factor;
    const Vec a = vec(*first.reg), b = vec(*second.reg);
    auto last_a = first.use(), last_b = second.use();
    Register to = last_a ? std::move(*last_a) : last_b ? std::move(*last_b) : registers_.lease("transformed");
    if (plain(factor)) {
        if (factor > 0)
            code_.vaddps(vec(to), a, b);
        else
            code_.vsubps(vec(to), a, b);
    } else if (last_b) {
        with_factor(std::abs(factor), [&](const Xbyak::Operand& by) {
            if (factor > 0)
                code_.vfmadd132ps(b, a, by);
            else
                code_.vfnmadd132ps(b, a, by);
        });
    } else {
        code_.vmovaps(vec(to), a);
        add(vec(to), b, factor);
    }
    return to;
}

void LinearTransform::add(const Vec& to, const Vec& from, double factor) {
    if (factor == 1) return code_.vaddps(to, to, from);
    if (factor == -1) return code_.vsubps(to, to, from);
    with_factor(std::abs(factor), [&](const Xbyak::Operand& by) {
        if (factor > 0)
            code_.vfmadd231ps(to, from, by);
        else
            code_.vfnmadd231ps(to, from, by);
    });
}

void LinearTransform::with_factor(double factor, const std::function<void(const Xbyak::Operand&)>& multiply) {
    const auto held = factors_.find(static_cast<float>(factor));
    if (held != factors_.end()) return multiply(vec(held->second));
    multiply(code_.constant(static_cast<float>(factor)));
}

}  // namespace tandem::jit
