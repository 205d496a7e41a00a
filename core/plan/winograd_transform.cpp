#include "core/plan/winograd_transform.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <map>
#include <optional>
#include <utility>

#include "core/plan/eternal.hpp"

namespace tandem {
namespace {

using Term = LinearProgram::Term;
using Step = LinearProgram::Step;

// The finite points of alpha inputs. +-2/3 and +-3/2 lose a quarter of what the textbook's +-1 and +-2 lose;
// a search over symmetric points finds none that are better by more than a hundredth, for any alpha here.
std::vector<double> finite_points(std::int64_t alpha) {
    switch (alpha) {
        case 4: return {0, 1, -1};
        case 5: return {0, 1, -1, 2};
        case 6: return {0, 2.0 / 3, -2.0 / 3, 1.5, -1.5};
        case 8: return {0, 0.5, -0.5, 1, -1, 2, -2};
        case 10: return {0, 0.4, -0.4, 0.8, -0.8, 1.25, -1.25, 2.5, -2.5};
        default: return {};
    }
}

bool near(double a, double b) { return std::abs(a - b) < 1e-12; }

// Coefficients, the constant first, of the product of (x - point) over all points but `left_out`. Whole
// numbers among them are exact, so that they can be told from others.
std::vector<double> polynomial(const std::vector<double>& points, std::size_t left_out) {
    std::vector<double> coefficients{1};
    for (std::size_t i = 0; i < points.size(); ++i) {
        if (i == left_out) continue;
        coefficients.insert(coefficients.begin(), 0);
        for (std::size_t k = 0; k + 1 < coefficients.size(); ++k)
            coefficients[k] -= points[i] * coefficients[k + 1];
    }
    for (double& coefficient : coefficients)
        if (near(coefficient, std::round(coefficient))) coefficient = std::round(coefficient);
    return coefficients;
}

// A row a point, the last infinity's.
Matrix input_matrix(const std::vector<double>& points) {
    const std::size_t alpha = points.size() + 1;
    Matrix matrix;
    for (std::size_t i = 0; i < alpha; ++i) {
        matrix.push_back(polynomial(points, i));
        matrix.back().resize(alpha);
    }
    return matrix;
}

// Powers of each point from 0 on; infinity has the last only.
Matrix power_matrix(const std::vector<double>& points, std::int64_t taps) {
    Matrix matrix;
    for (const double at : points) {
        std::vector<double> row{1};
        while (std::ssize(row) < taps)
            row.push_back(row.back() * at);
        matrix.push_back(std::move(row));
    }
    matrix.emplace_back(static_cast<std::size_t>(taps)).back() = 1;
    return matrix;
}

// Of each point to the others, multiplied; 1 of infinity.
std::vector<double> distances_of(const std::vector<double>& points) {
    std::vector<double> distances;
    for (const double at : points) {
        double distance = 1;
        for (const double other : points)
            if (other != at) distance *= at - other;
        distances.push_back(distance);
    }
    distances.push_back(1);
    return distances;
}

Matrix output_matrix(const std::vector<double>& points, std::int64_t outputs) {
    Matrix matrix;
    std::vector<double> powers(points.size(), 1);
    for (std::int64_t i = 0; i < outputs; ++i) {
        matrix.push_back(powers);
        matrix.back().push_back(i + 1 == outputs ? 1 : 0);
        for (std::size_t p = 0; p < points.size(); ++p)
            powers[p] *= points[p];
    }
    return matrix;
}

// The terms with a factor: those that are only added or subtracted before others, an added one first.
std::vector<Term> terms_of(const std::vector<double>& factors) {
    std::vector<Term> terms;
    for (std::size_t k = 0; k < factors.size(); ++k)
        if (factors[k] != 0) terms.push_back({static_cast<int>(k), factors[k]});
    std::ranges::stable_sort(terms, {}, [](const Term& term) { return std::abs(term.factor) != 1; });
    const auto added = std::ranges::find(terms, 1, &Term::factor);
    if (added != terms.end()) std::rotate(terms.begin(), added, added + 1);
    return terms;
}

// Adds a step and says which value it is; a single term of factor 1 is a value already.
int add_step(LinearProgram& program, std::vector<Term> terms, int output = -1) {
    if (output < 0 && terms.size() == 1 && terms[0].factor == 1) return terms[0].value;
    program.steps.push_back({std::move(terms), output});
    return program.inputs + static_cast<int>(program.steps.size()) - 1;
}

// Two rows that are the sum and the difference of parts: `even` + factor * `odd`.
struct Halves {
    std::vector<double> even{}, odd{};
    double factor = 1;
};
std::optional<Halves> halves(const std::vector<double>& a, const std::vector<double>& b) {
    Halves parts{std::vector<double>(a.size()), std::vector<double>(a.size())};
    double last_even = 0, last_odd = 0;
    for (std::size_t k = 0; k < a.size(); ++k) {
        const bool same = near(a[k], b[k]);
        if (!same && !near(a[k], -b[k])) return std::nullopt;
        (same ? parts.even : parts.odd)[k] = a[k];
        if (a[k] != 0) (same ? last_even : last_odd) = a[k];
    }
    if (last_even != 1 || last_odd == 0) return std::nullopt;
    for (double& factor : parts.odd)
        factor /= last_odd;
    parts.factor = last_odd;
    return parts;
}

// Pairs last: they need inputs for longer than other rows do.
LinearProgram input_program(const Matrix& matrix) {
    LinearProgram program{static_cast<int>(matrix.size())};
    std::vector<std::pair<std::size_t, Halves>> pairs;
    for (std::size_t i = 0; i < matrix.size(); ++i) {
        const auto parts = i + 1 < matrix.size() ? halves(matrix[i], matrix[i + 1]) : std::nullopt;
        if (parts)
            pairs.emplace_back(i++, *parts);
        else
            add_step(program, terms_of(matrix[i]), static_cast<int>(i));
    }
    for (const auto& [row, parts] : pairs) {
        const int even = add_step(program, terms_of(parts.even)),
                  odd = add_step(program, terms_of(parts.odd));
        add_step(program, {{even, 1}, {odd, parts.factor}}, static_cast<int>(row));
        add_step(program, {{even, 1}, {odd, -parts.factor}}, static_cast<int>(row) + 1);
    }
    return program;
}

// Columns j and j + 1 of points +-p: where there are more than two outputs, a sum and a difference of the two
// save more operations than they cost.
bool pairs_columns(const Matrix& matrix, const std::vector<double>& points, std::size_t j) {
    return matrix.size() > 2 && j + 1 < points.size() && points[j] != 0 && points[j] == -points[j + 1];
}

LinearProgram output_program(const Matrix& matrix, const std::vector<double>& points) {
    LinearProgram program{static_cast<int>(points.size()) + 1};
    std::vector<std::array<int, 2>>
        values;  // what stands for a column in even rows and in odd ones; -1: nothing
    for (std::size_t j = 0; j <= points.size(); ++j) {
        const int at = static_cast<int>(j);
        if (!pairs_columns(matrix, points, j)) {
            values.push_back({at, at});
            continue;
        }
        const int sum = add_step(program, {{at, 1}, {at + 1, 1}});
        const int difference = add_step(program, {{at, 1}, {at + 1, -1}});
        values.push_back({sum, difference});
        values.push_back({-1, -1});
        ++j;
    }
    for (std::size_t i = 0; i < matrix.size(); ++i) {
        std::vector<double> factors(static_cast<std::size_t>(program.inputs) + program.steps.size());
        for (std::size_t j = 0; j < values.size(); ++j)
            if (const int value = values[j][i % 2]; value >= 0)
                factors[static_cast<std::size_t>(value)] = matrix[i][j];
        add_step(program, terms_of(factors), static_cast<int>(i));
    }
    return program;
}

double squares(const std::vector<double>& row) {
    double sum = 0;
    for (const double value : row)
        sum += value * value;
    return sum;
}

double error_growth(const WinogradTransform& transform, const Matrix& input, const Matrix& output) {
    double sum = 0;
    for (const std::vector<double>& row : output) {
        for (std::size_t j = 0; j < row.size(); ++j) {
            const double scale = row[j] / transform.distances[j];
            sum += scale * scale * squares(transform.powers[j]) * squares(input[j]);
        }
    }
    return std::sqrt(sum / static_cast<double>(transform.outputs * transform.taps));
}

WinogradTransform make_transform(std::int64_t outputs, std::int64_t taps) {
    if (taps == 1) return {1, 1, {{1}}, {1}, {1, {{{{0, 1}}, 0}}}, {1, {{{{0, 1}}, 0}}}};
    const std::vector<double> points = finite_points(outputs + taps - 1);
    const Matrix input = input_matrix(points), output = output_matrix(points, outputs);
    WinogradTransform transform{outputs,
                                taps,
                                power_matrix(points, taps),
                                distances_of(points),
                                input_program(input),
                                output_program(output, points)};
    transform.error_growth = error_growth(transform, input, output);
    return transform;
}

using Transforms = std::map<std::pair<std::int64_t, std::int64_t>, WinogradTransform>;

const Transforms& transforms() {
    static constinit Eternal<const Transforms> all;
    return all.get([] {
        Transforms made;
        made.emplace(std::pair{1, 1}, make_transform(1, 1));
        made.emplace(std::pair{4, 2}, make_transform(4, 2));
        for (const std::int64_t taps : {3, 5, 7})
            for (const std::int64_t outputs : {2, 4})
                made.emplace(std::pair{outputs, taps}, make_transform(outputs, taps));
        return made;
    });
}

}  // namespace

int LinearProgram::operations() const noexcept {
    int count = 0;
    for (const Step& step : steps) {
        const bool starts_plain = step.terms[0].factor == 1;  // a move, or the operand of an addition
        count += static_cast<int>(step.terms.size()) - (starts_plain ? 1 : 0);
    }
    return count;
}

LinearProgram LinearProgram::rows(std::int64_t begin, std::int64_t end) const {
    std::vector<bool> wanted(steps.size());
    for (std::size_t at = steps.size(); at-- > 0;) {
        wanted[at] = wanted[at] || (steps[at].output >= begin && steps[at].output < end);
        if (!wanted[at]) continue;
        for (const Term& term : steps[at].terms)
            if (term.value >= inputs) wanted[static_cast<std::size_t>(term.value - inputs)] = true;
    }
    LinearProgram some{inputs};
    std::vector<int> number(steps.size());
    for (std::size_t at = 0; at < steps.size(); ++at) {
        if (!wanted[at]) continue;
        Step step = steps[at];
        for (Term& term : step.terms)
            if (term.value >= inputs) term.value = number[static_cast<std::size_t>(term.value - inputs)];
        number[at] = inputs + static_cast<int>(some.steps.size());
        some.steps.push_back(std::move(step));
    }
    return some;
}

double WinogradTransform::weight(std::int64_t point, const std::vector<double>& taps) const noexcept {
    const auto at = static_cast<std::size_t>(point);
    double sum = 0;
    for (std::size_t k = 0; k < taps.size(); ++k)
        sum += taps[k] * powers[at][k];
    return sum / distances[at];
}

bool has_winograd_transform(std::int64_t outputs, std::int64_t taps) {
    return transforms().contains({outputs, taps});
}

const WinogradTransform& winograd_transform(std::int64_t outputs, std::int64_t taps) {
    return transforms().at({outputs, taps});
}

}  // namespace tandem
