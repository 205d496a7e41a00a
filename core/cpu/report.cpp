#include "core/cpu/report.hpp"

#include <algorithm>

namespace tandem {

const ReportTable* CpuReport::table(const std::string& name) const {
    const auto found = std::ranges::find(tables, name, &ReportTable::name);
    return found == tables.end() ? nullptr : &*found;
}

const Reading* CpuReport::reading(const std::string& table_name, const std::string& name, double x,
                                  int threads) const {
    const ReportTable* const found = table(table_name);
    if (!found) return nullptr;
    const auto reading = std::ranges::find_if(found->readings, [&](const Reading& r) {
        return r.name == name && r.x == x && r.threads == threads;
    });
    return reading == found->readings.end() ? nullptr : &*reading;
}

}  // namespace tandem
