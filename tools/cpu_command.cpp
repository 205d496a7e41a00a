#include <fmt/format.h>

#include <memory>

#include "core/cpu/measure_cpu.hpp"
#include "tools/commands.hpp"
#include "tools/options.hpp"
#include "tools/progress_bar.hpp"

namespace tandem::tool {
void add_cpu(CLI::App& app, int& exit_code) {
    CLI::App* const command = app.add_subcommand("cpu", "Measure");
    command->callback([&exit_code] {
        const auto machine = host_machine();
        ProgressBar bar;
        CpuOptions o;
        double last = now_seconds(); std::string lw;
        o.progress = [&](double f, const std::string& w) { bar.show(f, w); if (w != lw) { fmt::print("{} {:.2f}\n", lw, now_seconds() - last); last = now_seconds(); lw = w; } };
        const auto r = measure_cpu(*machine, o);
        if (!r) { exit_code = complain(r.error().message, 1); return; }
        for (auto& t : r->tables) { fmt::print("== {} {} {}\n", t.name, t.unit, t.x); for (auto& x : t.readings) fmt::print("{:<34} {:>8} {:>3} {:>9.3f} [{:.3f} {:.3f}] {} {}\n", x.name, x.x, x.threads, x.figure.median, x.figure.low, x.figure.high, x.figure.rounds, x.figure.doubt); }
        for (auto& f : r->features) fmt::print("{} {} {}\n", f.name, f.advertised, f.outcome);
        for (auto& f : r->palettes) fmt::print("{}\n", f);
        fmt::print("{} {} {} {:x} {}\n", r->hypervisor, r->amx, r->l1_instructions, r->xcr0, r->seconds);
    });
}
}
