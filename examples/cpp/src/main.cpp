// Talks to api_service or local_inference_service: marsys-example TARGET MODEL [DEMO...]

#include <algorithm>
#include <iostream>
#include <string>
#include <utility>
#include <vector>

#include "client.h"
#include "demos.h"

namespace {

using Demo = void (*)(Client&, const std::string&);

const std::vector<std::pair<std::string, Demo>> kDemos = {
    {"unary", unary},
    {"tools", stream_with_tools},
    {"converse", converse},
    {"errors", show_error},
};

bool holds(const std::vector<std::string>& names, const std::string& name) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

}  // namespace

int main(int argc, char** argv) {
  const std::vector<std::string> names(argv + std::min(argc, 3), argv + argc);
  const bool known = std::all_of(names.begin(), names.end(), [](const std::string& name) {
    return std::any_of(kDemos.begin(), kDemos.end(),
                       [&](const auto& demo) { return demo.first == name; });
  });
  if (argc < 3 || !known) {
    std::cerr << "usage: marsys-example TARGET MODEL [unary|tools|converse|errors]..." << std::endl;
    return 2;
  }
  const auto client = connect(argv[1]);
  try {
    for (const auto& [name, demo] : kDemos) {
      if (!names.empty() && !holds(names, name)) continue;
      std::cout << "== " << name << std::endl;
      demo(*client, argv[2]);
    }
    return 0;
  } catch (const std::exception& error) {
    std::cerr << error.what() << std::endl;
    return 1;
  }
}
