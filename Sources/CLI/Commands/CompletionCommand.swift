internal import Base
internal import Glibc

enum CompletionCommand: CommandDefinition {
    static let name = "completion"
    static let synopsis = "Print the completion script of a shell"
    static let operands = "bash|zsh|fish"
    static let details = """
        Completes commands, flags and, when a token is there, mounts and keys. To have it in one shell:

            $ source <(holdfast completion bash)

        To have it in every shell from now on: holdfast -autocomplete-install
        """
    static let count: ClosedRange<Int>? = 1...1
    static let shared = SharedFlags.none

    static func run(_ call: Invocation) throws(CommandFailure) -> Int32 {
        guard let shell = CompletionScript(rawValue: call.arguments[0]) else {
            throw .usage("Unknown shell \"\(call.arguments[0])\" (expected bash, zsh or fish)")
        }
        call.console.raw(shell.text)
        return 0
    }
}

/// What a shell runs to be answered: it hands its line over in `COMP_LINE` and reads candidates.
enum CompletionScript: String, CaseIterable {
    case bash, zsh, fish

    var text: String {
        switch self {
        case .bash:
            """
            # Completion of holdfast for bash.
            _holdfast() {
                local found
                found=$(COMP_LINE="$COMP_LINE" COMP_POINT="$COMP_POINT" "$1" 2>/dev/null)
                COMPREPLY=()
                if [ -n "$found" ]; then mapfile -t COMPREPLY <<<"$found"; fi
                # Nothing behind a folder or a flag that waits for its value.
                case "${COMPREPLY[0]-}" in */ | *=) compopt -o nospace ;; esac
            }
            complete -o default -F _holdfast holdfast

            """
        case .zsh:
            """
            #compdef holdfast
            # Completion of holdfast for zsh.
            _holdfast() {
                local line="${(j: :)words[1,CURRENT]}"
                local -a found open
                found=("${(@f)$(COMP_LINE="$line" "$words[1]" 2>/dev/null)}")
                found=(${found:#})
                # Nothing behind a folder or a flag that waits for its value.
                open=(${(M)found:#*[/=]})
                found=(${found:#*[/=]})
                (( $#open )) && compadd -S '' -- $open
                (( $#found )) && compadd -- $found
                (( $#open + $#found )) || _files
            }
            (( $+functions[compdef] )) || { autoload -Uz compinit && compinit }
            compdef _holdfast holdfast

            """
        case .fish:
            """
            # Completion of holdfast for fish.
            function __holdfast_complete
                set -l line (commandline -cp)
                env COMP_LINE="$line" holdfast 2>/dev/null
            end
            complete -c holdfast -f -a '(__holdfast_complete)'

            """
        }
    }
}

/// `-autocomplete-install` and `-autocomplete-uninstall`: one marked line in the start-up file of each
/// shell that the user has one of, or a file where the shell has a folder for them.
struct CompletionInstall {
    let console: Console
    private static let mark = "# holdfast completion"

    private enum Place {
        case line(file: String, text: String)
        case file(path: String, text: String)
    }

    func run(installs: Bool) -> Int32 {
        guard let home = console.environment["HOME"], !home.isEmpty else {
            console.error("HOME is not set: there is no start-up file to change")
            return 1
        }
        var isAnywhere = false
        for place in places(home) {
            do throws(CommandFailure) {
                guard try change(place, installs) else { continue }
                isAnywhere = true
            } catch {
                console.error(error.message)
                return 1
            }
        }
        if !isAnywhere {
            console.error(
                installs
                    ? "Completion is installed already, or there is no start-up file of bash, zsh or fish."
                    : "Completion is not installed.")
            return 1
        }
        return 0
    }

    private func places(_ home: String) -> [Place] {
        func line(_ shell: String) -> String { "source <(holdfast completion \(shell)) \(Self.mark)" }
        let settings = console.environment["XDG_CONFIG_HOME"] ?? "\(home)/.config"
        var places: [Place] = []
        for (file, shell) in [(".bashrc", "bash"), (".zshrc", "zsh")] where exists("\(home)/\(file)") {
            places.append(.line(file: "\(home)/\(file)", text: line(shell)))
        }
        if exists("\(settings)/fish") {
            places.append(
                .file(path: "\(settings)/fish/completions/holdfast.fish", text: CompletionScript.fish.text))
        }
        return places
    }

    private func exists(_ path: String) -> Bool { access(path, F_OK) == 0 }

    /// - Returns: whether anything had to be changed.
    private func change(_ place: Place, _ installs: Bool) throws(CommandFailure) -> Bool {
        switch place {
        case .line(let file, let text):
            let old: String
            switch FileText.read(path: file) {
            case .success(let bytes): old = String(decoding: bytes, as: UTF8.self)
            case .failure(let error): throw .usage("Error reading \(file): \(error.message)")
            }
            let lines = old.split(separator: "\n", omittingEmptySubsequences: false)
            let others = lines.filter { !$0.hasSuffix(Self.mark) }
            let isThere = others.count < lines.count
            if isThere == installs { return false }
            var new = others.joined(separator: "\n")
            if installs { new += (new.isEmpty || new.hasSuffix("\n") ? "" : "\n") + text + "\n" }
            try write(new, to: file)
            console.out("\(installs ? "Added completion to" : "Removed completion from") \(file)")
            return true
        case .file(let path, let text):
            if exists(path) == installs { return false }
            if installs {
                let folder = String(path.prefix(upTo: path.lastIndex(of: "/") ?? path.startIndex))
                mkdir(folder, 0o755)
                try write(text, to: path)
            } else if unlink(path) != 0 {
                throw .usage("Error removing \(path)")
            }
            console.out("\(installs ? "Wrote" : "Removed") \(path)")
            return true
        }
    }

    /// Keeps the mode of a file that is there; one that is a link stays one.
    private func write(_ text: String, to path: String) throws(CommandFailure) {
        var real = path
        if let resolved = realpath(path, nil) {
            real = String(cString: resolved)
            free(resolved)
        }
        var info = stat()
        let mode = stat(real, &info) == 0 ? info.st_mode & 0o7777 : 0o644
        if case .failure(let error) = FileText.replace(path: real, with: Array(text.utf8), mode: mode) {
            throw .usage("Error writing \(path): \(error.message)")
        }
    }
}
